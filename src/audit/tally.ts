/** The sums of what facts count, for metrics. */
import { COUNTERS, type CounterName, countsOf } from './counters.ts';
import type { AuditFact } from './event.ts';

export interface Tally {
  count(fact: AuditFact): void;
  /** One sum for each combination of the counter's labels, those that nothing has counted yet included. */
  sums(name: CounterName): readonly Sum[];
  /** What the newest fact about it said; undefined before there was one. */
  readonly startSeconds: number | undefined;
  readonly policyRules: number | undefined;
}

export interface Sum {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export function createTally(): Tally {
  const sums = new Map<string, number>();
  let startSeconds: number | undefined;
  let policyRules: number | undefined;
  return {
    count(fact) {
      for (const { name, labels, amount } of countsOf(fact)) {
        const key = keyOf(name, labels);
        sums.set(key, (sums.get(key) ?? 0) + amount);
      }
      if (fact.kind === 'supervisor-ready') startSeconds = fact.durationMs / 1000;
      if (fact.kind === 'policy-loaded') policyRules = fact.rules;
    },
    sums: (name) =>
      combinations(COUNTERS[name].labels).map((labels) => ({
        labels,
        value: sums.get(keyOf(name, labels)) ?? 0,
      })),
    get startSeconds() {
      return startSeconds;
    },
    get policyRules() {
      return policyRules;
    },
  };
}

function keyOf(name: CounterName, labels: Readonly<Record<string, string>>): string {
  return Object.keys(COUNTERS[name].labels).reduce((key, label) => `${key} ${labels[label]}`, name as string);
}

/** Every way to choose a value for each label; one empty choice where there are no labels. */
function combinations(
  labels: Readonly<Record<string, readonly string[]>>,
): readonly Readonly<Record<string, string>>[] {
  return Object.entries(labels).reduce<Readonly<Record<string, string>>[]>(
    (chosen, [label, values]) =>
      chosen.flatMap((before) => values.map((value) => ({ ...before, [label]: value }))),
    [{}],
  );
}
