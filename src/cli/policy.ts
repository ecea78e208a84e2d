import { escapeText } from '../lib/escape.ts';
import { meaningOf } from '../policy/meaning.ts';
import { loadPolicy } from '../start/policy.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan policy FILE`: valid or not, and what it means. */
export const verb: Verb = async (command, { stdout }) => {
  const document = await loadPolicy(command.operands[0]);
  if (command.options.has('json')) printJson(stdout, document);
  else {
    const notices = document.notices.map(
      ({ message, position }) =>
        `notice        ${position === undefined ? '' : `line ${position.line}: `}${message}`,
    );
    const lines = [`digest        ${document.digest}`, ...meaningOf(document), ...notices];
    stdout.write(`${lines.map((line) => escapeText(line, 2000)).join('\n')}\n`);
  }
  return 0;
};
