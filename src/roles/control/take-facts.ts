/** What the process role tells, put into the sidecar's log as fast as it may be. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Report } from '../../audit/event.ts';
import { roleLost } from '../channel.ts';
import { FACT_BURST_BYTES, FACT_BYTES_PER_SECOND, RECORD_BYTES } from './bounds.ts';
import type { ProcessFact } from './message.ts';
import { createSums } from './sums.ts';

export interface FactTaker {
  /**
   * Records a fact, and settles when the next may be read.
   * @param bytes of its frame
   * @throws CastellanError `role_lost` for one that this process role cannot have
   */
  take(fact: ProcessFact, bytes: number): Promise<void>;
  /** The wire is gone: tells what was counted. */
  end(): void;
}

/** A run has one of each. A second would be somebody’s who took the process role over: the name of the user stands in every later record. */
const ONCE: ReadonlySet<ProcessFact['kind']> = new Set([
  'supervisor-started',
  'supervisor-ready',
  'supervisor-stopped',
  'supervisor-failed',
  'identity-resolved',
]);

/**
 * Records facts, each as it comes, and then lets the reader wait for as long as the budget says: nothing is dropped. What waits behind them
 * is the process role's own: policies are put in force without its word (start/pod-programs.ts), a question without an answer is an
 * unknown identity, and an end that is not told in time is a loss. An honest one launches nothing meanwhile (CONGESTED_BYTES).
 */
export function createFactTaker(uid: number, report: Report): FactTaker {
  const budget = createBudget({ bytesPerSecond: FACT_BYTES_PER_SECOND, burstBytes: FACT_BURST_BYTES });
  const held = createSums(report, 'the process role tells more than it may, and was made to wait after');
  const seen = new Set<string>();
  return {
    async take(fact, bytes) {
      refuseOtherUid(fact, uid);
      if (ONCE.has(fact.kind) && seen.has(fact.kind))
        throw roleLost(`the process role tells ${fact.kind} twice`);
      seen.add(fact.kind);
      report(fact);
      const waitMs = budget(bytes + RECORD_BYTES);
      if (waitMs === 0) return;
      held.add(fact.kind);
      await sleep(waitMs);
    },
    end: () => held.tell(),
  };
}

/** Nothing in the agent's container can become somebody else: a fact that says so is made up. */
function refuseOtherUid(fact: ProcessFact, uid: number): void {
  const claimed = fact.kind === 'identity-resolved' ? fact.uid : 'process' in fact ? fact.process.uid : uid;
  if (claimed !== uid) throw roleLost(`the process role tells of uid ${claimed}, and is uid ${uid}`);
}

/** How long to wait after `bytes` were taken: 0 while the budget lasts. A debt is paid by waiting, so that what has come is never dropped. */
export function createBudget(
  { bytesPerSecond, burstBytes }: { readonly bytesPerSecond: number; readonly burstBytes: number },
  now: () => number = () => performance.now(),
): (bytes: number) => number {
  let left = burstBytes;
  let at = now();
  return (bytes) => {
    const before = at;
    at = now();
    left = Math.min(burstBytes, left + ((at - before) / 1000) * bytesPerSecond) - bytes;
    return left >= 0 ? 0 : (-left / bytesPerSecond) * 1000;
  };
}
