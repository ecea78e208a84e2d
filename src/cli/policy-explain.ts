import { readFile } from 'node:fs/promises';
import { questionOf } from '../egress/question.ts';
import { simulate } from '../egress/simulate.ts';
import { CastellanError } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { compilePolicy } from '../policy/compile.ts';
import { loadPolicy } from '../start/policy.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan policy explain FILE`: what would become of one request, and by which rule. 0 where it passes, else 1. */
export const verb: Verb = async ({ options, operands: [file = ''] }, { stdout }) => {
  const [binary, ...ancestors] = options.get('binary') ?? [];
  const url = options.get('url')?.[0];
  if (binary === undefined || url === undefined)
    throw new CastellanError('usage', 'policy explain needs --binary and --url', { step: 'arguments' });
  const headers = Object.fromEntries((options.get('header') ?? []).map(headerOf));
  const bodyFile = options.get('body')?.[0];
  const question = questionOf({
    binaries: [binary, ...ancestors],
    url,
    method: options.get('method')?.[0],
    headers,
    body: bodyFile === undefined ? undefined : await readFile(bodyFile, 'utf8'),
  });
  const { network } = await loadPolicy(file);
  const answer = await simulate(compilePolicy(network, Date.now()), question);
  const position = network.find(({ name }) => name === answer.rule)?.position;
  const at = position && `${file}:${position.line}`;
  if (options.has('json')) printJson(stdout, { ...answer, at });
  else {
    const lines = [
      `verdict  ${answer.verdict}${answer.reason === undefined ? '' : ` (${answer.reason})`}`,
      `by       the ${answer.level}`,
      `rule     ${answer.rule === undefined ? 'none' : `${answer.rule}${at === undefined ? '' : ` at ${at}`}`}`,
      `why      ${answer.detail}`,
    ];
    stdout.write(`${lines.map((line) => escapeText(line, 2000)).join('\n')}\n`);
  }
  return answer.verdict === 'deny' ? 1 : 0;
};

function headerOf(text: string): [string, string] {
  const colon = text.indexOf(':');
  if (colon < 1)
    throw new CastellanError('usage', `--header ${text}: write NAME: VALUE`, { step: 'arguments' });
  return [text.slice(0, colon).trim().toLowerCase(), text.slice(colon + 1).trim()];
}
