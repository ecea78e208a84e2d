/**
 * A SESSION: request → shell → confine → launch → attach → exit. It runs in the process role; the client is a person or
 * tool that the SSH server let in, the process is confined exactly like the agent.
 */
import type { Readable } from 'node:stream';
import { CastellanError } from '../errors.ts';
import type { Cell } from '../launch/cell.ts';
import { confine } from '../launch/confine.ts';
import type { Launcher, LaunchIo } from '../launch/launch.ts';
import { type ExitStatus, type RunningProcess, type TerminalSize, within } from '../launch/process.ts';
import type { ConfinedSpec } from '../launch/spec.ts';
import { escapeText } from '../lib/escape.ts';
import { loginShell } from './login-shell.ts';
import type { MainConsole } from './main-console.ts';
import { copyInput } from './relay.ts';

export type SessionStart =
  | { readonly kind: 'shell' }
  | { readonly kind: 'exec'; readonly command: string }
  /** The subsystem, by the image's own server. */
  | { readonly kind: 'sftp' };

export interface SessionRequest {
  readonly sessionId: string;
  readonly start: SessionStart;
  readonly terminal: (TerminalSize & { readonly name: string }) | undefined;
  /** Already checked by isRequestable(). */
  readonly environment: Readonly<Record<string, string>>;
}

/** The client's side of a session. */
export interface SessionClient {
  readonly input: Readable;
  /** Resolves when the client took it, or is gone. */
  write(to: 'stdout' | 'stderr', chunk: Uint8Array): Promise<void>;
  /** The process runs: signals and window sizes can go to it. */
  launched(process: RunningProcess): void;
  exit(status: ExitStatus): void;
  /** What was asked for cannot even be launched. */
  refused(reason: string): void;
  /** Aborted when nobody is there any more. */
  readonly gone: AbortSignal;
}

export interface SessionPlace {
  readonly launcher: Launcher;
  readonly cell: Cell;
  /** Of the main process, where it is retained. */
  readonly mainConsole?: MainConsole | undefined;
}

/** Where distributions have it: Debian, Fedora, Alpine and Arch, openSUSE, others, Gentoo. */
const SFTP_DIRECTORIES = [
  '/usr/lib/openssh',
  '/usr/libexec/openssh',
  '/usr/lib/ssh',
  '/usr/libexec/ssh',
  '/usr/libexec',
  '/usr/lib/misc',
];
/** The launcher looks for it, in the agent's own view of the files. The server itself starts nothing. */
const SFTP_SERVER = { argv: ['sftp-server'], environment: { PATH: SFTP_DIRECTORIES.join(':') } };

/** From HUP to KILL when the client is gone: enough to write a history file, too short to go on working unseen. */
const HANGUP_GRACE_MS = 2000;
/** Ctrl-D in the terminals that pty.ts makes. */
const END_OF_INPUT = '\x04';

/** Runs one session to its end; what goes wrong is told to the client, and in the launcher's record. */
export async function runSession(
  place: SessionPlace,
  request: SessionRequest,
  client: SessionClient,
): Promise<void> {
  let status: ExitStatus;
  try {
    status = await attach(await launchSession(place, request, client), client);
  } catch (error) {
    if (!(error instanceof CastellanError)) throw error;
    await client.write('stderr', Buffer.from(`castellan: ${escapeText(error.message)}\r\n`));
    status = { exitCode: error.exitCode, signal: undefined };
  }
  client.exit(status);
}

async function launchSession(
  { launcher, cell }: SessionPlace,
  request: SessionRequest,
  client: SessionClient,
): Promise<RunningProcess> {
  const { sessionId, start, terminal } = request;
  const spec = await sessionSpec(cell, request).catch((error: unknown) => {
    client.refused(error instanceof Error ? error.message : String(error));
    throw error;
  });
  // File transfer is no text for a terminal.
  const io: LaunchIo =
    terminal === undefined || start.kind === 'sftp' ? { kind: 'pipes' } : { kind: 'pty', ...terminal };
  try {
    return await launcher.launch(spec, io, { kind: start.kind, sessionId, identity: cell.identity });
  } catch (error) {
    throw start.kind === 'sftp' ? asSftpError(error) : error;
  }
}

async function sessionSpec(
  cell: Cell,
  { start, environment, terminal }: SessionRequest,
): Promise<ConfinedSpec> {
  if (start.kind === 'sftp') return confine(cell, SFTP_SERVER);
  const shell = await loginShell(cell.identity.shell);
  const argv = start.kind === 'shell' ? [shell, '-l'] : [shell, '-c', start.command];
  return confine(cell, { argv, environment, terminal: terminal?.name });
}

function asSftpError(error: unknown): unknown {
  if (!(error instanceof CastellanError) || error.code !== 'command_not_found') return error;
  const { step, object, errno } = error;
  return new CastellanError('command_not_found', 'the image has no sftp-server; scp -O and tar do without', {
    step,
    ...(object !== undefined && { object }),
    ...(errno !== undefined && { errno }),
    cause: error,
  });
}

/** Resolves when the process has ended and the client has all it wrote, or is gone. */
async function attach(process: RunningProcess, client: SessionClient): Promise<ExitStatus> {
  const hangUp = () => void endUnseen(process);
  client.gone.addEventListener('abort', hangUp, { once: true });
  if (client.gone.aborted) hangUp();
  client.launched(process);
  try {
    await copyAll(process, client);
    return await process.exited;
  } finally {
    client.gone.removeEventListener('abort', hangUp);
    letGo(process);
  }
}

/**
 * Like sshd, a session without a terminal lasts until nobody holds its output any more: a background process that was
 * not redirected keeps it open.
 */
async function copyAll({ io }: RunningProcess, client: SessionClient): Promise<void> {
  switch (io.kind) {
    case 'pipes':
      copyInput(client.input, io.stdin, { atEnd: () => io.stdin.end() });
      await Promise.all([copyOutput(io.stdout, 'stdout', client), copyOutput(io.stderr, 'stderr', client)]);
      return;
    case 'terminal':
      copyInput(client.input, io.stream, {
        atEnd(last) {
          // A terminal's reader sees its end at the start of a line only; elsewhere the first one hands over the line.
          const lineIsOpen = last !== undefined && last !== 0x0a && last !== 0x0d;
          io.stream.write(lineIsOpen ? END_OF_INPUT.repeat(2) : END_OF_INPUT);
        },
      });
      await copyOutput(io.stream, 'stdout', client);
      return;
    case 'inherit':
    case 'none':
      return;
  }
}

async function copyOutput(from: Readable, to: 'stdout' | 'stderr', client: SessionClient): Promise<void> {
  try {
    for await (const chunk of from) await client.write(to, chunk);
  } catch (error) {
    // Letting go of a process whose client is gone destroys the stream under the loop.
    if (!client.gone.aborted) throw error;
  }
}

async function endUnseen(process: RunningProcess): Promise<void> {
  process.signal('SIGHUP');
  process.signal('SIGCONT');
  letGo(process);
  if (!(await within(process.exited, HANGUP_GRACE_MS))) process.signal('SIGKILL');
}

function letGo({ io }: RunningProcess): void {
  if (io.kind === 'terminal') io.stream.destroy();
  if (io.kind === 'pipes') for (const stream of [io.stdin, io.stdout, io.stderr]) stream.destroy();
}
