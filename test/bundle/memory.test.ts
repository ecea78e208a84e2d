/** The network role in 64 MiB, which is what a sidecar may be given, under an agent that uses its network much. */
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AGENT_UID, finish, isRoot, prepare, untilPrinted, useWorld, writePolicy } from '../e2e/sandbox.ts';
import { BUNDLE } from './container.ts';
import { type MemoryCgroup, makeMemoryCgroup } from './memory-cgroup.ts';

const LIMIT = 64 * 1024 * 1024;
const [CONNECTIONS, AT_ONCE] = [300, 50];
const HOST = 'allowed.demo.test';
const NETWORK = `network_policies:
  inspected:
    endpoints: [{ host: ${HOST}, port: 8443, protocol: rest, access: full, allowed_ips: [10.77.0.0/24] }]
    binaries: &all [{ path: /usr/bin/curl }, { path: "/usr/bin/python3*" }]
  raw:
    endpoints: [{ host: ${HOST}, ports: [8080, 2525], allowed_ips: [10.77.0.0/24] }]
    binaries: *all
`;
const SCRIPT = [
  'echo up; while [ ! -e go ]; do sleep 0.05; done',
  `curl -sS https://${HOST}:8443/a http://${HOST}:8080/b`,
  'curl -sS -o /dev/null -w "%{http_code}\\n" http://forbidden.demo.test:8080/',
  ...['inspected', 'raw'].map((kind) => `python3 load.py ${kind} ${HOST} ${CONNECTIONS} ${AT_ONCE}`),
  `curl -sS https://${HOST}:8443/c`,
].join('\n');
const ANSWERS = `up
GET ${HOST}:8443 /a 0
GET ${HOST}:8080 /b 0
403
${CONNECTIONS} inspected
${CONNECTIONS} raw
GET ${HOST}:8443 /c 0
`;
/** Each connection is identified and opened; a loaded machine does a few a second. */
const DEADLINE_MS = 180_000;
const world = useWorld();

describe.skipIf(!isRoot)('the network role in a memory cgroup of 64 MiB (needs root)', () => {
  it(
    `serves the demo's requests, and ${CONNECTIONS} connections of either kind`,
    async () => {
      using cgroup = makeMemoryCgroup(LIMIT);
      const setup = prepare(world(), 'root');
      const policy = writePolicy(setup, NETWORK);
      copyFileSync(join(import.meta.dirname, 'memory-load.py'), join(setup.work, 'load.py'));
      const child = world().spawn(
        [
          ...[join(BUNDLE, 'bin/castellan'), 'run', '--quiet', '--policy', policy, '--workdir', setup.work],
          ...['--audit-file', setup.auditPath, '--', '/bin/sh', '-c', SCRIPT],
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      );
      const finished = finish(child);
      using _watch = captureLaunches(child.pid ?? 0, cgroup);
      await untilPrinted(child, 'up');
      for (const pid of cgroup.processes())
        if (statSync(`/proc/${pid}`).uid === AGENT_UID) cgroup.release(pid);
      expect(cgroup.processes().map(commandOf)).toEqual([expect.stringContaining('network-role')]);
      const idle = cgroup.usage();
      writeFileSync(join(setup.work, 'go'), '');
      const { code, stdout, stderr } = await finished;
      const { peak, kills } = cgroup.usage();
      expect(stdout, stderr).toBe(ANSWERS);
      expect(code).toBe(0);
      expect(kills).toBe(0);
      console.log(`memory: ${mebibytes(idle.anonymous)} MiB idle, ${mebibytes(peak)} MiB at most`);
      expect(peak).toBeLessThan(LIMIT);
    },
    DEADLINE_MS,
  );
});

/** Moves whatever castellan launches into the cgroup, as long as it is the launcher, which holds next to nothing yet. */
function captureLaunches(init: number, cgroup: MemoryCgroup): Disposable {
  const seen = new Set<number>();
  const timer = setInterval(() => {
    for (const pid of childrenOf(init).flatMap(childrenOf)) {
      if (seen.has(pid)) continue;
      seen.add(pid);
      try {
        writeFileSync(join(cgroup.path, 'cgroup.procs'), String(pid));
      } catch {
        // It has ended meanwhile.
      }
    }
  }, 1);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

const commandOf = (pid: number): string => readFileSync(`/proc/${pid}/cmdline`, 'latin1');
const mebibytes = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);
