import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { describe, expect, it } from 'vitest';
import {
  type ExitStatus,
  endProcesses,
  exitStatus,
  type RunningProcess,
  runningProcess,
  within,
} from '../../../src/launch/process.ts';
import { usableSize } from '../../../src/launch/pty.ts';

describe('exitStatus', () => {
  it.each([
    { code: 0, signal: null, want: { exitCode: 0, signal: undefined } },
    { code: 7, signal: 0, want: { exitCode: 7, signal: undefined } },
    { code: null, signal: 'SIGTERM' as const, want: { exitCode: 143, signal: 'SIGTERM' } },
    { code: 0, signal: 9, want: { exitCode: 137, signal: 'SIGKILL' } },
    { code: 0, signal: 34, want: { exitCode: 162, signal: 'SIG34' } },
  ])('reads $code $signal', ({ code, signal, want }) => {
    expect(exitStatus(code, signal)).toEqual(want);
  });
});

describe('runningProcess', () => {
  it('signals the group it leads, and nobody once it has exited', async () => {
    const child = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
    const ended = once(child, 'exit');
    try {
      const { promise: exited, resolve: exit } = Promise.withResolvers<ExitStatus>();
      const started = {
        pid: child.pid ?? 0,
        io: { kind: 'inherit' } as const,
        inCgroup: false,
        discard() {},
      };
      const gone = runningProcess({ ...started, exited });
      exit({ exitCode: 0, signal: undefined });
      await exited;
      gone.signal('SIGKILL');
      runningProcess({ ...started, exited: new Promise(() => {}) }).signal('SIGTERM');
      expect(await ended).toEqual([null, 'SIGTERM']);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('endProcesses', () => {
  it.each([
    {
      name: 'one that takes TERM',
      endsOn: 'SIGTERM',
      kind: 'inherit' as const,
      want: ['SIGTERM', 'SIGCONT'],
    },
    {
      name: 'one that takes KILL only',
      endsOn: 'SIGKILL',
      kind: 'inherit' as const,
      want: ['SIGTERM', 'SIGCONT', 'SIGKILL'],
    },
    {
      name: 'a shell on a terminal',
      endsOn: 'SIGHUP',
      kind: 'terminal' as const,
      want: ['SIGTERM', 'SIGHUP', 'SIGCONT'],
    },
  ])('ends $name', async ({ endsOn, kind, want }) => {
    const got: string[] = [];
    const events = new EventEmitter();
    const process = {
      pid: 1,
      io: { kind },
      exited: new Promise((resolve) => events.once(endsOn, resolve)),
      signal(name: string) {
        got.push(name);
        events.emit(name);
      },
    } as unknown as RunningProcess;
    await endProcesses([process], { graceMs: 20 });
    expect(got).toEqual(want);
  });
});

describe('within', () => {
  it('tells in time from late', async () => {
    expect(await within(Promise.resolve(), 1000)).toBe(true);
    expect(await within(new Promise(() => {}), 1)).toBe(false);
  });
});

describe('usableSize', () => {
  it.each([
    [
      { columns: 0, rows: 0 },
      { columns: 80, rows: 24 },
    ],
    [
      { columns: 132, rows: 50 },
      { columns: 132, rows: 50 },
    ],
    [
      { columns: 4_294_967_295, rows: -3 },
      { columns: 65_535, rows: 24 },
    ],
    [
      { columns: Number.NaN, rows: 1.5 },
      { columns: 80, rows: 24 },
    ],
  ])('makes %j usable', (given, want) => {
    expect(usableSize(given)).toEqual(want);
  });
});
