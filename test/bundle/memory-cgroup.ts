/** A memory cgroup of a test's own, in either version of the interface (cgroup-v1/memory.rst, cgroup-v2.rst). */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface MemoryCgroup extends Disposable {
  readonly path: string;
  /** In front of a command: becomes it, inside. */
  readonly enter: readonly string[];
  processes(): number[];
  /** Moves a process out, to where this one is. */
  release(pid: number): void;
  /** Bytes: the most that there ever was of everything, and what cannot be reclaimed now. */
  usage(): { readonly peak: number; readonly anonymous: number; readonly kills: number };
}

const FILES = {
  1: { limit: 'memory.limit_in_bytes', peak: 'memory.max_usage_in_bytes', anonymous: 'rss', events: 'memory.oom_control' },
  2: { limit: 'memory.max', peak: 'memory.peak', anonymous: 'anon', events: 'memory.events' },
} as const; // biome-ignore format: one row a version

/** Takes root, and a memory controller in either version. Nothing of it is swapped. */
export function makeMemoryCgroup(bytes: number): MemoryCgroup {
  const version = existsSync('/sys/fs/cgroup/memory') ? 1 : 2;
  const base = version === 1 ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
  if (version === 2) writeFileSync(join(base, 'cgroup.subtree_control'), '+memory');
  const own = /^(?:\d+:memory|0:):(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
  const path = join(base, `castellan-test-${process.pid}`);
  mkdirSync(path);
  const { limit, peak, anonymous, events } = FILES[version];
  writeFileSync(join(path, limit), String(bytes));
  if (existsSync(join(path, 'memory.swap.max'))) writeFileSync(join(path, 'memory.swap.max'), '0');
  const read = (file: string): string => readFileSync(join(path, file), 'utf8');
  const field = (file: string, name: string): number =>
    Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(read(file))?.[1] ?? Number.NaN);
  return {
    path,
    enter: ['/bin/sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', path],
    processes: () => read('cgroup.procs').split('\n').filter(Boolean).map(Number),
    release: (pid) => writeFileSync(join(base, own, 'cgroup.procs'), String(pid)),
    usage: () => ({
      peak: Number(read(peak)),
      anonymous: field('memory.stat', anonymous),
      kills: field(events, 'oom_kill'),
    }),
    [Symbol.dispose]() {
      // Only where a test has failed is anybody left.
      for (const pid of read('cgroup.procs').split('\n').filter(Boolean))
        process.kill(Number(pid), 'SIGKILL');
      const deadline = performance.now() + 5000;
      while (read('cgroup.procs') !== '' && performance.now() < deadline);
      rmdirSync(path);
    },
  };
}
