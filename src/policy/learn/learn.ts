/** From observations to the text of a policy. Observations come one by one, so that a log of any length fits. */
import { CastellanError } from '../../errors.ts';
import type { NetworkRule } from '../document.ts';
import { checkPolicy } from '../parse.ts';
import { type Baseline, createBaseline } from './baseline.ts';
import type { Observation } from './observation.ts';
import { countRefused } from './replay.ts';
import { type LearnedRule, learnRules } from './rules.ts';
import { createTable, type LeftOut, leave, type Table } from './table.ts';
import { writePolicy, writeSuggestion } from './write.ts';

export interface LearnOptions {
  /** Only what these rules do not allow is learned. */
  readonly base: readonly NetworkRule[] | undefined;
  /** Paths stay as they were seen. */
  readonly exact: boolean;
  /** What was refused for want of a rule is granted too, and not only told. */
  readonly includeDenied: boolean;
}

export interface Learner {
  add(observation: Observation): void;
  /** Something that could have been learned, and was not. */
  leaveOut(why: string): void;
  /**
   * The policy that allows what was added.
   * @throws CastellanError `policy_invalid` where no policy can say it
   */
  finish(): string;
}

export function createLearner({ base: given, exact, includeDenied }: LearnOptions): Learner {
  const base = given ?? [];
  const baseline = given && createBaseline(given);
  const granted = createTable();
  const refused = createTable();
  let observations = 0;
  return {
    add(observation) {
      observations += 1;
      if (baseline?.allows(observation)) return;
      (observation.outcome === 'refused' && !includeDenied ? refused : granted).add(observation);
    },
    leaveOut: (why) => leave(granted.leftOut, why),
    finish() {
      const { rules, leftOut, problem } = learn(granted, { base, baseline, exact });
      if (problem !== undefined)
        throw new CastellanError('policy_invalid', `what was learned is no valid policy: ${problem}`, {
          step: 'learn',
        });
      const heading = [
        `Learned by castellan policy learn from ${observations} records.`,
        ...(baseline === undefined
          ? []
          : ['An addition: its rules belong under network_policies of the base.']),
        ...[...leftOut].map(([why, count]) => `Left out, ${count} times: ${why}.`),
      ];
      const text = writePolicy(rules, { heading });
      if (refused.cells.size === 0) return text;
      const suggested = learn(refused, { base, baseline, exact });
      return (
        text +
        writeSuggestion(
          suggested.rules,
          'Refused for want of a rule, and not granted here; --include-denied grants it:',
        )
      );
    },
  };
}

interface Means {
  readonly base: readonly NetworkRule[];
  readonly baseline: Baseline | undefined;
  readonly exact: boolean;
}

interface Learned {
  readonly rules: readonly LearnedRule[];
  readonly leftOut: LeftOut;
  /** What keeps the rules from being a policy. */
  readonly problem: string | undefined;
}

/** Patterns may meet where the paths that were seen do not: then those stand as they are. */
function learn(table: Table, means: Means): Learned {
  const generalised = learnOnce(table, means);
  return generalised.isWhole || means.exact ? generalised : learnOnce(table, { ...means, exact: true });
}

function learnOnce(
  { cells, leftOut: before }: Table,
  { base, baseline, exact }: Means,
): Learned & { readonly isWhole: boolean } {
  const leftOut = new Map(before);
  const rules = learnRules([...cells.values()], { exact, baseline, leftOut });
  const { document, problems } = checkPolicy(writePolicy(rules, { heading: [] }), 'learned', {
    beside: base,
  });
  const problem = document === undefined ? (problems[0]?.message ?? 'it cannot be read') : undefined;
  const refused = document === undefined ? 0 : countRefused(cells.values(), [...base, ...document.network]);
  if (refused > 0) leftOut.set('requests that the rules for others at the same path hide', refused);
  return { rules, leftOut, problem, isWhole: problem === undefined && refused === 0 };
}
