import type { Identity } from '../stages.ts';

export interface ProcessQuota {
  /** A place for one connection of this process, given back by disposal; undefined when it has all it may. */
  take(identity: Identity): Disposable | undefined;
}

/** At most `limit` connections a process, counted by pid and start time. */
export function createProcessQuota(limit: number): ProcessQuota {
  const taken = new Map<string, number>();
  return {
    take({ pid, startTime }) {
      const key = `${pid}:${startTime}`;
      const count = taken.get(key) ?? 0;
      if (count >= limit) return undefined;
      taken.set(key, count + 1);
      return {
        [Symbol.dispose]() {
          const left = (taken.get(key) ?? 1) - 1;
          if (left === 0) taken.delete(key);
          else taken.set(key, left);
        },
      };
    },
  };
}
