import { escapeText } from '../lib/escape.ts';
import { meaningOf } from '../policy/meaning.ts';
import { loadPolicy } from '../start/policy.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan policy diff OLD NEW`: what the new one grants more and less, line by line of its meaning. 1 where they differ. */
export const verb: Verb = async ({ options, operands: [before = '', after = ''] }, { stdout }) => {
  const [old, young] = await Promise.all([
    meaningOf(await loadPolicy(before)),
    meaningOf(await loadPolicy(after)),
  ]);
  const removed = old.filter((line) => !young.includes(line));
  const added = young.filter((line) => !old.includes(line));
  if (options.has('json')) printJson(stdout, { removed, added });
  else
    for (const [mark, lines] of [
      ['-', removed],
      ['+', added],
    ] as const)
      for (const line of lines) stdout.write(`${mark} ${escapeText(line, 2000)}\n`);
  return removed.length + added.length === 0 ? 0 : 1;
};
