/** Rules where programs are not told apart, because nobody can, or the operator wants nobody to. */
import type { NetworkRule } from './document.ts';

/** In the place of an identity: whoever it is, it was not looked at. */
export const ANY_PROGRAM = 'any-program';
/** What stands for such a caller where rules are about paths; no file has it. */
export const ANY_PROGRAM_PATH = '/(any program)';

const EVERY_PATH = '/**';

/** The rules for everybody; one that names no program is for nobody still. */
export function forAnyProgram(rules: readonly NetworkRule[]): readonly NetworkRule[] {
  return rules.map((rule) => ({
    ...rule,
    binaries: rule.binaries.length === 0 ? [] : [{ path: EVERY_PATH }],
  }));
}

/** Names of rules that hold for certain contents of programs alone. */
export function pinningRules(rules: readonly NetworkRule[]): readonly string[] {
  return rules
    .filter(({ binaries }) => binaries.some(({ sha256 }) => sha256 !== undefined))
    .map(({ name }) => name);
}
