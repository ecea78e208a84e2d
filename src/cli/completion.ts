import { CastellanError } from '../errors.ts';
import { completionScript, SHELLS } from './completion-script.ts';
import type { Verb } from './verb.ts';

/** `castellan completion bash|zsh|fish`: what the shell reads. */
export const verb: Verb = async ({ operands }, { stdout }) => {
  const shell = SHELLS.find((name) => name === operands[0]);
  if (shell === undefined)
    throw new CastellanError('usage', `completion takes one of ${SHELLS.join(', ')}`, { step: 'arguments' });
  stdout.write(completionScript(shell));
  return 0;
};
