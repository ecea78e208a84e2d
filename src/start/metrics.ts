/** Metrics of a run: sums of what is reported, and what both roles tell of themselves when somebody asks. */
import type { AuditCounts } from '../audit/audit.ts';
import type { AuditFact } from '../audit/event.ts';
import { createTally, type Tally } from '../audit/tally.ts';
import type { RunConfig } from '../config/config.ts';
import type { NetworkFigures } from '../roles/message.ts';
import type { Answerer } from './door.ts';
import { createOwnFigures } from './own-figures.ts';

export interface MetricSources {
  /** Undefined until there is a log. */
  audit?: { readonly counts: AuditCounts | undefined };
  /** Undefined until there is a network role, and where there is none. */
  network?: { measure(): Promise<NetworkFigures | undefined> } | undefined;
}

export interface Metrics {
  count(fact: AuditFact): void;
  /** Filled in as the start goes on. */
  readonly sources: MetricSources;
  readonly answer: Answerer;
}

const PATH = '/metrics';

/** What a scrape looks at. */
export interface MeasuredRun {
  readonly config: RunConfig;
  readonly tally: Tally;
  readonly sources: MetricSources;
  readonly ownFigures: ReturnType<typeof createOwnFigures>;
}

export function createMetrics(config: RunConfig): Metrics {
  const run: MeasuredRun = { config, tally: createTally(), sources: {}, ownFigures: createOwnFigures() };
  return {
    count: run.tally.count,
    sources: run.sources,
    async answer(path) {
      if (path !== PATH) return undefined;
      // Loaded for the first who asks.
      const { measure } = await import('./measure.ts');
      return await measure(run);
    },
  };
}
