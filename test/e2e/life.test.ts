import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  AGENT_UID,
  ALLOW_CURL,
  auditEvents,
  CALLER_UID,
  castellan,
  finish,
  isRoot,
  MODES,
  type Mode,
  prepare,
  run,
  type Setup,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const sharedWorld = useWorld();

let count = 0;
const uniqueName = () => `life-${process.pid}-${++count}`;

/** The castellan init below nsenter and setpriv, which become it. */
function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('not started');
  return child.pid;
}

async function startSandbox(setup: Setup, script: string, name: string): Promise<ChildProcess> {
  const child = run(setup, ['/bin/sh', '-c', script], {
    policy: writePolicy(setup, ALLOW_CURL),
    name,
    stdin: 'pipe',
    options: ['--quiet', '--grace', '1'],
  });
  await untilPrinted(child, 'up\n');
  return child;
}

async function untilReady(setup: Setup, name: string): Promise<void> {
  for (;;) {
    const { stdout } = await finish(castellan(setup, ['list', '--json']));
    if (
      (JSON.parse(stdout) as { name: string; ready: boolean }[]).some(
        (each) => each.name === name && each.ready,
      )
    )
      return;
  }
}

function livingCommands(pattern: RegExp): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return pattern.test(line) ? [line] : [];
    } catch {
      return [];
    }
  });
}

function runBase({ directory }: Setup, mode: Mode): string {
  return mode === 'root' ? '/run/castellan' : join(directory, 'rt/castellan');
}

describe.skipIf(!isRoot).each(MODES)('a sandbox’s life, %s (needs root to make the test world)', (mode) => {
  const uid = mode === 'root' ? AGENT_UID : CALLER_UID;

  it.each([
    ['TERM', 'trap "exit 5" TERM; echo up; while :; do sleep 0.05; done', 5],
    ['INT', 'trap "exit 6" INT; echo up; while :; do sleep 0.05; done', 6],
    ['USR1', 'trap "exit 7" USR1; echo up; while :; do sleep 0.05; done', 7],
    ['TERM', 'trap "" TERM; echo up; while :; do sleep 0.05; done', 137],
    ['TERM', 'echo up; exec sleep 1002', 143],
  ] as const)('SIG%s reaches the command: %s → %i', async (signal, script, code) => {
    const setup = prepare(sharedWorld(), mode);
    const name = uniqueName();
    const child = await startSandbox(setup, script, name);
    await untilReady(setup, name);
    process.kill(pidOf(child), `SIG${signal}`);
    const [actual] = await once(child, 'close');
    expect(actual).toBe(code);
    expect(existsSync(join(runBase(setup, mode), name))).toBe(false);
  });

  it('ends at once and in order when it is told to while it starts', async () => {
    const setup = prepare(sharedWorld(), mode);
    const child = run(setup, ['sleep', '1006'], { policy: writePolicy(setup), name: uniqueName() });
    // The first event is on standard error: the start is under way, the command is not.
    await once(child.stderr ?? child, 'data');
    process.kill(pidOf(child), 'SIGTERM');
    expect((await finish(child)).code).toBe(143);
    expect(auditEvents(setup).at(-1)?.type_uid).toBe(100807);
    expect(livingCommands(/sleep 1006/)).toEqual([]);
  });

  it('lets a person in by SSH, confined like the agent', async () => {
    const setup = prepare(sharedWorld(), mode);
    const name = uniqueName();
    const child = await startSandbox(setup, 'echo up; read -r _', name);
    await untilReady(setup, name);
    const ssh = (...command: string[]) =>
      finish(castellan(setup, ['ssh', '--sandbox', name, '--', ...command]));
    expect(await ssh('id -u; pwd')).toMatchObject({ code: 0, stdout: `${uid}\n${setup.work}\n` });
    expect((await ssh('exit 9')).code).toBe(9);
    expect((await ssh('kill -TERM $$')).code).not.toBe(0);
    expect(await ssh('echo out; echo err >&2')).toMatchObject({ stdout: 'out\n', stderr: 'err\n' });
    expect((await ssh('grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status')).stdout).toMatch(
      /CapEff:\s+0+\nNoNewPrivs:\s+1\nSeccomp:\s+2\n/,
    );
    expect((await ssh('cat /etc/shadow')).code).not.toBe(0);
    expect(
      (await ssh('curl -sS -o /dev/null -w "%{http_connect}" https://forbidden.demo.test:8443/')).stdout,
    ).toBe('403');
    expect((await ssh('echo "a  b"  "$HOME"')).stdout).toBe(`a  b ${setup.work}\n`);
    const piped = castellan(setup, ['ssh', '--sandbox', name, '--', 'wc -c'], 'pipe');
    piped.stdin?.end(Buffer.alloc(1_000_000));
    expect((await finish(piped)).stdout.trim()).toBe('1000000');
    child.stdin?.end('\n');
    expect((await finish(child)).code).toBe(0);
    const classes = new Set(auditEvents(setup).map(({ type_uid }) => type_uid));
    for (const type of [400701, 400702, 100701, 100702, 600203, 600204, 100806, 100807])
      expect(classes, String(type)).toContain(type);
  });

  it('ends daemons that forked away, and gives the command’s own code', async () => {
    const setup = prepare(sharedWorld(), mode);
    const script =
      'for n in 1 2 3; do (setsid sh -c "trap \'\' TERM HUP; sleep 1003" >/dev/null 2>&1 &); done; echo up; exit 4';
    const child = run(setup, ['/bin/sh', '-c', script], {
      policy: writePolicy(setup),
      options: ['--quiet', '--grace', '1'],
    });
    expect((await finish(child)).code).toBe(4);
    expect(livingCommands(/sleep 1003/)).toEqual([]);
  });

  it('cleans up after a run that was killed', async () => {
    const setup = prepare(sharedWorld(), mode);
    const name = uniqueName();
    const child = await startSandbox(
      setup,
      '(setsid sleep 1004 >/dev/null 2>&1 &); echo up; exec sleep 1004',
      name,
    );
    await untilReady(setup, name);
    const left = join(runBase(setup, mode), name);
    process.kill(pidOf(child), 'SIGKILL');
    await once(child, 'close');
    expect(existsSync(left)).toBe(true);
    const { cgroup } = JSON.parse(readFileSync(join(left, 'state.json'), 'utf8'));
    const next = await finish(
      run({ ...setup, auditPath: `${setup.auditPath}2` }, ['true'], {
        policy: writePolicy(setup),
        options: ['--quiet'],
      }),
    );
    expect(next.code, next.stderr).toBe(0);
    expect(existsSync(left)).toBe(false);
    expect(livingCommands(/sleep 1004/)).toEqual([]);
    // Where there was one: it takes a delegated hierarchy.
    if (cgroup !== undefined) expect(existsSync(cgroup)).toBe(false);
  });

  it('ends when the network role is lost, and says so', async () => {
    const setup = prepare(sharedWorld(), mode);
    const name = uniqueName();
    const child = await startSandbox(setup, 'echo up; exec sleep 1005', name);
    await untilReady(setup, name);
    const launched = auditEvents(setup).find(({ message }) => message.startsWith('network-role: pid '));
    process.kill(Number(launched?.message.match(/pid (\d+)/)?.[1]), 'SIGKILL');
    const { code, stderr } = await finish(child);
    expect(code).toBe(108);
    expect(stderr).toMatch(/the network role ended by SIGKILL \[role_lost/);
    expect(livingCommands(/sleep 1005/)).toEqual([]);
  });

  it('writes a log that verifies, and that a change breaks', async () => {
    const setup = prepare(sharedWorld(), mode);
    await finish(run(setup, ['true'], { policy: writePolicy(setup), options: ['--quiet'] }));
    expect(await finish(castellan(setup, ['audit', setup.auditPath]))).toMatchObject({ code: 0 });
    const lines = readFileSync(setup.auditPath, 'utf8').trimEnd().split('\n');
    expect(lines.length).toBeGreaterThan(10);
  });

  it('doctor says that runs will work here', async () => {
    const { code, stdout } = await finish(castellan(prepare(sharedWorld(), mode), ['doctor', '--json']));
    expect(code, stdout).toBe(0);
    expect(JSON.parse(stdout).facts.landlockAbi.ok).toBe(true);
  });
});
