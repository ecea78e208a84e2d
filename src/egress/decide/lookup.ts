/**
 * Looking up allowed names with getaddrinfo(3), in this role and never by the workload's hosts file. It reads what the machine
 * says (nsswitch, hosts, several name servers, search lists), asks again by TCP where an answer was cut, and blocks
 * a thread until it is done: so that names whose servers hang cannot take all threads, each domain has only some.
 */
import { lookup } from 'node:dns/promises';
import { putLast } from '../../lib/put-last.ts';
import type { EgressLimits } from '../limits.ts';

/** All addresses of a name. Rejects with the resolver's error. */
export interface Resolver {
  (host: string): Promise<readonly string[]>;
  readonly figures?: () => LookupFigures;
}

export interface LookupFigures {
  readonly lookupsRunning: number;
  readonly lookupsWaiting: number;
  /** Names whose answer, or failure, is known. */
  readonly namesRemembered: number;
}

type LookupLimits = Pick<
  EgressLimits,
  'resolving' | 'resolvingPerDomain' | 'resolveQueue' | 'cachedNames' | 'nameCacheMs' | 'nameFailureMs'
>;

/**
 * A resolver that remembers for a moment. Connections that ask for one name at once share the answer; a name that nobody may
 * reach is never looked up, so that look-ups carry nothing out.
 */
export function createSystemResolver(limits: LookupLimits, find: Resolver = findBySystem): Resolver {
  const known = new Map<string, Promise<readonly string[]>>();
  const lanes = createLanes(limits);
  const forget = (host: string, answer: Promise<readonly string[]>, ms: number): void => {
    const timer = setTimeout(() => known.get(host) === answer && known.delete(host), ms);
    timer.unref();
  };
  const resolve = (host: string): Promise<readonly string[]> => {
    const before = known.get(host);
    if (before !== undefined) return before;
    const answer = lanes.enter(domainOf(host), () => find(host));
    // What is under way and has to go goes on for who waits for it.
    putLast(known, host, answer, limits.cachedNames);
    answer.then(
      () => forget(host, answer, limits.nameCacheMs),
      () => forget(host, answer, limits.nameFailureMs),
    );
    return answer;
  };
  return Object.assign(resolve, { figures: () => ({ ...lanes.figures(), namesRemembered: known.size }) });
}

async function findBySystem(host: string): Promise<readonly string[]> {
  const entries = await lookup(host, { all: true, order: 'verbatim' });
  return entries.map(({ address }) => address);
}

/** What one name server is likely to answer for. */
function domainOf(host: string): string {
  return host.split('.').slice(-2).join('.');
}

type Work = () => Promise<readonly string[]>;

/** Runs at most so many at once, and of one lane at most its share; the others wait in turn. */
function createLanes({ resolving, resolvingPerDomain, resolveQueue }: LookupLimits) {
  const waiting: { readonly lane: string; readonly start: () => void }[] = [];
  const running = new Map<string, number>();
  let total = 0;
  const isFree = (lane: string): boolean =>
    total < resolving && (running.get(lane) ?? 0) < resolvingPerDomain;
  const count = (lane: string, change: 1 | -1): void => {
    total += change;
    const left = (running.get(lane) ?? 0) + change;
    if (left === 0) running.delete(lane);
    else running.set(lane, left);
  };
  const leave = (lane: string): void => {
    count(lane, -1);
    const next = waiting.findIndex((entry) => isFree(entry.lane));
    if (next >= 0) waiting.splice(next, 1)[0]?.start();
  };
  const enter = async (lane: string, work: Work): Promise<readonly string[]> => {
    if (isFree(lane)) count(lane, 1);
    else {
      if (waiting.length >= resolveQueue) throw new Error('too many names are being looked up');
      await new Promise<void>((resolve) =>
        waiting.push({
          lane,
          start() {
            // Taken at once: who comes before this one goes on would take it twice.
            count(lane, 1);
            resolve();
          },
        }),
      );
    }
    try {
      return await work();
    } finally {
      leave(lane);
    }
  };
  return { enter, figures: () => ({ lookupsRunning: total, lookupsWaiting: waiting.length }) };
}
