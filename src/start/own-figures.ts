/** What this process takes of the machine, for metrics; both roles ask themselves. */
import { readdir } from 'node:fs/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { ProcessFigures } from '../roles/message.ts';

/** How often the loop is looked at once anybody wants to know: finer costs wake-ups, coarser misses short stalls. */
const LAG_RESOLUTION_MS = 20;
const NANOSECONDS = 1e9;

/** A run that nobody measures pays nothing: the loop is watched from the first question on. */
export function createOwnFigures(): () => Promise<ProcessFigures> {
  let lag: ReturnType<typeof monitorEventLoopDelay> | undefined;
  return async () => {
    // To look takes a descriptor itself: where there is none left, nobody can say how many there are.
    const descriptors = await readdir('/proc/self/fd').catch(() => undefined);
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed } = process.memoryUsage();
    const lateness = (nanoseconds: number | undefined): number =>
      Math.max(0, (nanoseconds ?? 0) / NANOSECONDS - LAG_RESOLUTION_MS / 1000);
    const [p99, max] = [lag?.percentile(99), lag?.max];
    lag?.reset();
    if (lag === undefined) {
      lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
      lag.enable();
    }
    return {
      cpuSeconds: (user + system) / 1e6,
      residentBytes: rss,
      heapBytes: heapUsed,
      ...(descriptors && { openDescriptors: descriptors.length }),
      lagP99Seconds: lateness(p99),
      lagMaxSeconds: lateness(max),
    };
  };
}
