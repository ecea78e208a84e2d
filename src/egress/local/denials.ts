/** What was refused, for the programs that ask and for whoever decides: the last ones as they were, and counts by destination and program. */
import type { AuditFact, DenialCount, Report } from '../../audit/event.ts';
import { ANY_PROGRAM } from '../../policy/any-program.ts';
import { FACT_LIMITS } from '../../policy/fact-limits.ts';
import type { EgressLimits } from '../limits.ts';

export interface Denial {
  readonly time: string;
  readonly host: string;
  readonly port: number;
  readonly binary: string | null;
  readonly reason: string;
  readonly detail: string;
  readonly method?: string;
  /** Without query. */
  readonly path?: string;
}

export interface DenialBook {
  /** Passes every fact on, and notes those that are about refusals. */
  readonly report: Report;
  /** The last ones, the newest first. */
  recent(count: number): readonly Denial[];
  /** Tells the counts, if there are any, and begins anew. */
  flush(): void;
}

type DeniedFact = Extract<AuditFact, { kind: 'connection-denied' }>;
type Counting = { -readonly [Key in keyof DenialCount]: DenialCount[Key] } & { readonly requests: string[] };

/** Memory is bounded whatever is refused: more destinations than there is room for are one number. */
export function createDenialBook(
  report: Report,
  limits: Pick<EgressLimits, 'recentDenials' | 'countedDenials' | 'listedDenials' | 'denialRequests'>,
  now: () => number = Date.now,
): DenialBook {
  const recent: Denial[] = [];
  const counts = new Map<string, Counting>();
  let since = now();
  let total = 0;
  const count = (fact: DeniedFact): void => {
    const { intent, identity, reason } = fact;
    const { host, port } = intent;
    const binary = pathOf(identity);
    const key = JSON.stringify([host, port, binary]);
    total += 1;
    let entry = counts.get(key);
    if (entry === undefined) {
      if (counts.size >= limits.countedDenials) return;
      const time = now();
      entry = { host, port, binary, reason, count: 0, firstSeen: time, lastSeen: time, requests: [] };
      counts.set(key, entry);
    }
    entry.count += 1;
    entry.lastSeen = now();
    entry.reason = reason;
    const line =
      intent.http &&
      `${intent.http.method} ${generalPath(intent.http.path)}`.slice(0, FACT_LIMITS.deniedRequest);
    if (line !== undefined && entry.requests.length < limits.denialRequests && !entry.requests.includes(line))
      entry.requests.push(line);
  };
  return {
    report(fact) {
      if (fact.kind === 'connection-denied') {
        recent.push(denialOf(fact, now()));
        if (recent.length > limits.recentDenials) recent.shift();
        count(fact);
      }
      report(fact);
    },
    recent: (wanted) => recent.slice(-wanted).reverse(),
    flush() {
      if (total > 0) {
        const denials = [...counts.values()].sort((a, b) => b.count - a.count).slice(0, limits.listedDenials);
        const listed = denials.reduce((sum, each) => sum + each.count, 0);
        report({ kind: 'denials-counted', since, total, unlisted: total - listed, denials });
      }
      counts.clear();
      total = 0;
      since = now();
    },
  };
}

function denialOf({ intent, identity, reason, detail }: DeniedFact, time: number): Denial {
  const { host, port, http } = intent;
  return {
    time: new Date(time).toISOString(),
    host,
    port,
    binary: pathOf(identity) ?? null,
    reason,
    detail,
    ...(http && { method: http.method, path: http.path }),
  };
}

/**
 * A path with `*` for each segment that is an id, or that a pattern could read in another way: requests that differ only there
 * are one line, and none of it widens a rule that is made of it.
 */
export function generalPath(path: string): string {
  return path
    .split('/')
    .map((segment) => (isPlain(segment) ? segment : '*'))
    .join('/');
}

function isPlain(segment: string): boolean {
  if (!/^[A-Za-z0-9._~-]*$/.test(segment)) return false;
  const isId = /^\d+$/.test(segment) || /^[0-9a-f-]{16,}$/i.test(segment) || segment.length > 40;
  return !isId;
}

/** Undefined where it could not be established, or where nobody looks. */
function pathOf(caller: DeniedFact['identity']): string | undefined {
  return caller === undefined || caller === ANY_PROGRAM ? undefined : caller.executable;
}
