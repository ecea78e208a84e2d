import { constants } from 'node:os';
import type { Duplex, Readable, Writable } from 'node:stream';
import { killProcess } from '../kernel/processes.ts';

export interface ExitStatus {
  /** The command's own, or 128 + n when signal n ended it. */
  readonly exitCode: number;
  readonly signal: string | undefined;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** What the process role holds of a process's standard streams. Whoever launched must read the outputs or destroy them. */
export type ProcessIo =
  | { readonly kind: 'inherit' }
  | { readonly kind: 'none' }
  | { readonly kind: 'pipes'; readonly stdin: Writable; readonly stdout: Readable; readonly stderr: Readable }
  /** Destroying the stream hangs the terminal up. */
  | { readonly kind: 'terminal'; readonly stream: Duplex; resize(size: TerminalSize): void };

/** A launcher that was just started: it has not read its spec yet. */
export interface StartedLauncher {
  readonly pid: number;
  readonly io: ProcessIo;
  readonly exited: Promise<ExitStatus>;
  /** It was born in the cgroup that it is for, and has none to join. */
  readonly inCgroup: boolean;
  /** Lets go of the streams after a launch that failed. */
  discard(): void;
}

export interface RunningProcess {
  readonly pid: number;
  readonly io: ProcessIo;
  readonly exited: Promise<ExitStatus>;
  /** To the whole process group, which the process leads; nothing once it has exited, as its number may be another's then. */
  signal(name: NodeJS.Signals): void;
}

/** The owner of a started launcher that has become the command. */
export function runningProcess({ pid, io, exited }: StartedLauncher): RunningProcess {
  let alive = true;
  void exited.then(() => {
    alive = false;
  });
  return {
    pid,
    io,
    exited,
    signal(name) {
      if (alive) killProcess(-pid, name);
    },
  };
}

/** From a wait status as libuv and node-pty give it: one of the two is null or 0. */
export function exitStatus(code: number | null, signal: NodeJS.Signals | number | null): ExitStatus {
  const number = typeof signal === 'string' ? constants.signals[signal] : (signal ?? 0);
  if (number === 0) return { exitCode: code ?? 0, signal: undefined };
  const known = Object.entries(constants.signals).find(([, value]) => value === number);
  return { exitCode: 128 + number, signal: known?.[0] ?? `SIG${number}` };
}

/** After KILL nothing can refuse for long; what is still there then is stuck in the kernel. */
const KILL_DEADLINE_MS = 5000;

/**
 * Ends processes with their groups: TERM, a grace, KILL. Interactive shells ignore TERM and end on HUP, so what has a
 * terminal gets both; CONT lets stopped ones act on it.
 */
export async function endProcesses(
  processes: readonly RunningProcess[],
  { graceMs }: { readonly graceMs: number },
): Promise<void> {
  const ended = Promise.all(processes.map(({ exited }) => exited));
  for (const process of processes) {
    process.signal('SIGTERM');
    if (process.io.kind === 'terminal') process.signal('SIGHUP');
    process.signal('SIGCONT');
  }
  if (await within(ended, graceMs)) return;
  for (const process of processes) process.signal('SIGKILL');
  await within(ended, KILL_DEADLINE_MS);
}

/** Whether `work` settled before the limit; the timer never keeps the process alive longer than the work does. */
export async function within(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, limitMs, false);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
