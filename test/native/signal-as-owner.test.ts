/** Signals to processes of another user, by root without CAP_KILL. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isRoot } from '../fakes/cell.ts';

const PROCESSES = join(import.meta.dirname, '../../src/kernel/processes.ts');
/** Prints by which signal a child of uid 20101 ended, and a group of two; then what is refused. */
const SCRIPT = `
import { spawn } from 'node:child_process';
import { once } from 'node:events';
const { killProcess, lacksKill } = await import(${JSON.stringify(PROCESSES)});
const start = async (command, detached) => {
  const child = spawn('/bin/sh', ['-c', 'echo up; ' + command], { uid: 20101, gid: 20101, detached, stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
};
console.log(lacksKill());
for (const [detached, sign] of [[false, 1], [true, -1]]) {
  const child = await start(detached ? 'sleep 600 & wait' : 'exec sleep 600', detached);
  killProcess(sign * child.pid, 'SIGTERM');
  console.log((await once(child, 'close'))[1]);
}
killProcess(2 ** 22 + 1, 'SIGTERM');
console.log(process.getuid());
`;

/** Signals whatever is about to be started, over and over; what signals it has its uid for a moment. */
const SPRAY = `
import os, sys
me = os.getpid()
os.set_blocking(0, False)
print('up', flush=True)
def is_over():
    try: return os.read(0, 1) == b''
    except BlockingIOError: return False
while not is_over():
    last = int(open('/proc/loadavg').read().split()[-1])
    for pid in (last, last + 1, last + 2) * 3:
        try: pid == me or os.kill(pid, int(sys.argv[1]))
        except OSError: pass
`;
const SIGNALS = 30;
/** Each takes forks while another process takes all the CPU it gets, on a machine with other work. */
const HUNT_MS = 180_000;
const hunted = (kind: 'SIGKILL' | 'SIGUSR2') => `
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
const { killProcess } = await import(${JSON.stringify(PROCESSES)});
process.on('SIGUSR2', () => console.log('was told of a signal'));
const child = spawn('python3', ['-c', ${JSON.stringify(SPRAY)}, String(constants.signals.${kind})], { uid: 20101, gid: 20101, stdio: ['pipe', 'pipe', 'inherit'] });
await once(child.stdout, 'data');
for (let count = 0; count < ${SIGNALS}; count++) killProcess(child.pid, 'SIGURG');
child.stdin.end();
await once(child, 'close');
console.log('lives');
`;

describe.skipIf(!isRoot)('a process of another user (needs root)', () => {
  it.each([
    ['without CAP_KILL', ['--bounding-set=-kill', '--inh-caps=-kill'], 'true'],
    ['with it', ['--reuid=0'], 'false'],
  ])('is reached %s', (_, options, lacks) => {
    const argv = [...options, process.execPath, '--input-type=module', '-e', SCRIPT];
    const { stdout, stderr } = spawnSync('setpriv', argv, { encoding: 'utf8' });
    expect(stdout, stderr).toBe(`${lacks}\nSIGTERM\nSIGTERM\n0\n`);
  });

  it.each(['SIGKILL', 'SIGUSR2'] as const)(
    'does not reach who signals it with %s',
    (kind) => {
      const argv = [
        ...[
          '--pid',
          '--fork',
          '--mount-proc',
          '--',
          'setpriv',
          '--bounding-set=-kill',
          '--inh-caps=-kill',
          '--',
        ],
        // The first process of a namespace is out of reach of all others in it.
        ...['sh', '-c', '"$@"; exit $?', 'sh'],
        ...[process.execPath, '--input-type=module', '-e', hunted(kind)],
      ];
      const { stdout, stderr, status } = spawnSync('unshare', argv, { encoding: 'utf8' });
      expect({ stdout, status }, stderr).toEqual({ stdout: 'lives\n', status: 0 });
    },
    HUNT_MS,
  );
});
