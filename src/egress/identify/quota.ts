import { ANY_PROGRAM } from '../../policy/any-program.ts';
import type { Caller } from '../stages.ts';

export interface ProcessQuota {
  /** A place for one connection or request of this process, given back by disposal; undefined when it, or all together, have all they may. */
  take(caller: Caller): Disposable | undefined;
}

/** At most `limit` a process, counted by pid and start time, and `total` of all; where processes are not told apart, `total` alone. */
export function createProcessQuota(limit: number, total: number): ProcessQuota {
  const taken = new Map<string, number>();
  let all = 0;
  return {
    take(caller) {
      const key = caller === ANY_PROGRAM ? caller : `${caller.pid}:${caller.startTime}`;
      const count = taken.get(key) ?? 0;
      if ((count >= limit && caller !== ANY_PROGRAM) || all >= total) return undefined;
      taken.set(key, count + 1);
      all += 1;
      return {
        [Symbol.dispose]() {
          all -= 1;
          const left = (taken.get(key) ?? 1) - 1;
          if (left === 0) taken.delete(key);
          else taken.set(key, left);
        },
      };
    },
  };
}
