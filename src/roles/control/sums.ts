/** What happens so often that it is counted: one fact an interval tells how often, by kind. */
import type { Report } from '../../audit/event.ts';

export interface Sums {
  add(kind: string): void;
  /** Tells what has not been told, now. */
  tell(): void;
}

/** As long as a person who watches waits, and six records a minute. */
const INTERVAL_MS = 10_000;

/** @param what says what was counted, as a sentence's beginning: the sums follow it */
export function createSums(report: Report, what: string): Sums {
  const counts = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  const tell = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (counts.size === 0) return;
    const sums = [...counts].map(([kind, count]) => `${count} ${kind}`).join(', ');
    counts.clear();
    report({ kind: 'internal-error', where: 'control-wire', message: `${what}: ${sums}` });
  };
  return {
    add(kind) {
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
      timer ??= setTimeout(tell, INTERVAL_MS).unref();
    },
    tell,
  };
}

export interface LimitedFacts {
  readonly report: Report;
  /** Tells what was only counted, now. */
  tell(): void;
}

/** Passes on `most` facts in an interval, and counts what comes beyond: for facts whose number somebody else chooses. */
export function limitFacts(report: Report, most: number): LimitedFacts {
  const sums = createSums(report, 'more came, and were not told one by one');
  let told = 0;
  let since = -INTERVAL_MS;
  return {
    report(fact) {
      const now = performance.now();
      if (now - since >= INTERVAL_MS) {
        since = now;
        told = 0;
      }
      told += 1;
      if (told <= most) report(fact);
      else sums.add(fact.kind);
    },
    tell: sums.tell,
  };
}
