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

describe.skipIf(!isRoot)('a process of another user (needs root)', () => {
  it.each([
    ['without CAP_KILL', ['--bounding-set=-kill', '--inh-caps=-kill'], 'true'],
    ['with it', ['--reuid=0'], 'false'],
  ])('is reached %s', (_, options, lacks) => {
    const argv = [...options, process.execPath, '--input-type=module', '-e', SCRIPT];
    const { stdout, stderr } = spawnSync('setpriv', argv, { encoding: 'utf8' });
    expect(stdout, stderr).toBe(`${lacks}\nSIGTERM\nSIGTERM\n0\n`);
  });
});
