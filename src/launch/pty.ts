/**
 * Terminals. node-pty's native part forks on a new terminal and waits for that pid; its JavaScript part is passed
 * over, because it drops output that is not read within 200 ms of the exit, spins while a terminal takes no input, and
 * adds to the environment.
 */
import { chownSync, writeSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { ReadStream } from 'node:tty';
import { CastellanError, errnoOf } from '../errors.ts';
import { type ExitStatus, exitStatus, type StartedLauncher, type TerminalSize } from './process.ts';

interface NativePty {
  fork(
    file: string,
    argv: readonly string[],
    environment: readonly string[],
    directory: string,
    columns: number,
    rows: number,
    uid: number,
    gid: number,
    utf8: boolean,
    helperPath: string,
    onExit: (code: number, signal: number) => void,
  ): { readonly fd: number; readonly pid: number; readonly pty: string };
  resize(descriptor: number, columns: number, rows: number): void;
}

/** TIOCSWINSZ holds 16 bits each; clients may send anything, and 0 for unknown. */
const MAX_SIDE = 65_535;
const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

/** Output travels from a terminal's slave to its master through a kernel work queue: silence this long after the exit is the end. */
const DRAINED_AFTER_MS = 100;

/** Nothing tells when a full terminal takes input again: soon while its reader reads, seldom while it does not. */
const FIRST_RETRY_MS = 1;
const LAST_RETRY_MS = 50;

/** node-pty passes these over at -1: the launcher changes identity, nothing before it. */
const SAME_ID = -1;

/**
 * The process leads a new session on a terminal of its own.
 *
 * @param owner uid that may open the terminal by its name; undefined leaves it with the caller's.
 */
export async function startOnTerminal(
  program: string,
  socketPath: string,
  size: TerminalSize,
  owner: number | undefined,
): Promise<StartedLauncher> {
  const native = await loadNative();
  const { columns, rows } = usableSize(size);
  const { promise: exited, resolve: onExit } = Promise.withResolvers<ExitStatus>();
  const { fd, pid, pty } = native.fork(
    program,
    [socketPath],
    [],
    '/',
    columns,
    rows,
    SAME_ID,
    SAME_ID,
    true,
    '',
    (code, signal) => onExit(exitStatus(code, signal)),
  );
  const { stream, isOpen } = openTerminal(fd, exited);
  if (owner !== undefined) giveTerminal(pty, owner);
  return {
    pid,
    exited,
    inCgroup: false,
    io: {
      kind: 'terminal',
      stream,
      resize(wanted) {
        const next = usableSize(wanted);
        if (isOpen()) native.resize(fd, next.columns, next.rows);
      },
    },
    discard: () => void stream.destroy(),
  };
}

/** Replaces what a client left open or made up. */
export function usableSize({ columns, rows }: TerminalSize): TerminalSize {
  const side = (value: number, fallback: number) =>
    Number.isInteger(value) && value > 0 ? Math.min(value, MAX_SIDE) : fallback;
  return { columns: side(columns, DEFAULT_SIZE.columns), rows: side(rows, DEFAULT_SIZE.rows) };
}

async function loadNative(): Promise<NativePty> {
  try {
    const module: unknown = await import('node-pty');
    return (module as { readonly native: NativePty }).native;
  } catch (cause) {
    throw new CastellanError('install_incomplete', 'node-pty is not built', {
      step: 'launch/terminal',
      cause,
    });
  }
}

/** tmux, gpg and the like open their terminal by name; without this only what was inherited would work, so failing is no error. */
function giveTerminal(path: string, owner: number): void {
  try {
    chownSync(path, owner, -1);
  } catch {
    // A devpts that is mounted elsewhere, or an id that is not mapped here.
  }
}

interface OpenTerminal {
  readonly stream: Duplex;
  /** Whether the descriptor is still this terminal's. */
  isOpen(): boolean;
}

/** The master as a stream that ends, where the kernel says EIO, when nobody holds the terminal any more. */
function openTerminal(descriptor: number, exited: Promise<ExitStatus>): OpenTerminal {
  const master = new ReadStream(descriptor);
  let silence: NodeJS.Timeout | undefined;
  let retry: NodeJS.Timeout | undefined;
  // Not through `master`: libuv spins until such a write is done, and so never reads what would let it be done.
  const put = (rest: Buffer, delayMs: number, done: () => void): void => {
    const written = master.destroyed ? undefined : tryWrite(descriptor, rest);
    // Input for a terminal that is gone has nobody to go to.
    if (written === undefined || written === rest.length) {
      done();
      return;
    }
    const nextMs = written > 0 ? FIRST_RETRY_MS : Math.min(delayMs * 2, LAST_RETRY_MS);
    retry = setTimeout(put, nextMs, rest.subarray(written), nextMs, done);
  };
  const ended = () => {
    clearTimeout(silence);
    stream.push(null);
    master.destroy();
  };
  const stream: Duplex = new Duplex({
    read() {
      master.resume();
      silence?.refresh();
    },
    write(chunk: Buffer, _encoding, done) {
      put(chunk, FIRST_RETRY_MS, done);
    },
    destroy(error, done) {
      clearTimeout(silence);
      clearTimeout(retry);
      master.destroy();
      done(error);
    },
  });
  master.on('data', (chunk: Buffer) => {
    silence?.refresh();
    if (!stream.push(chunk)) master.pause();
  });
  master.on('error', ended);
  master.on('close', ended);
  // A background process may hold the terminal for ever; the session is over with its leader.
  void exited.then(() => {
    const look = () => (master.isPaused() ? silence?.refresh() : ended());
    if (!master.destroyed) silence = setTimeout(look, DRAINED_AFTER_MS);
  });
  return { stream, isOpen: () => !master.destroyed };
}

/** Bytes that a non-blocking terminal took; undefined when it is gone. */
function tryWrite(descriptor: number, bytes: Buffer): number | undefined {
  try {
    return writeSync(descriptor, bytes);
  } catch (error) {
    return errnoOf(error) === 'EAGAIN' ? 0 : undefined;
  }
}
