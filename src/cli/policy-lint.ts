import { ERROR_CODES } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { checkPolicy } from '../policy/parse.ts';
import { policyFiles, readPolicyFile } from '../start/policy.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan policy lint FILE`: every problem and notice, where it stands. */
export const verb: Verb = async ({ options, operands: [file = ''] }, { stdout }) => {
  const { document, problems } = checkPolicy(await readPolicyFile(file), file, { files: policyFiles() });
  const notices = document?.notices ?? [];
  if (options.has('json'))
    printJson(stdout, {
      problems: problems.map(({ position, message }) => ({ ...position, message })),
      notices: notices.map(({ position, message }) => ({ ...position, message })),
    });
  else
    for (const [kind, findings] of [
      ['error', problems],
      ['notice', notices],
    ] as const)
      for (const { position, message } of findings)
        stdout.write(
          `${file}:${position?.line ?? 1}:${position?.column ?? 1}: ${kind}: ${escapeText(message, 2000)}\n`,
        );
  return problems.length === 0 ? 0 : ERROR_CODES.policy_invalid.exit;
};
