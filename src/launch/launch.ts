/**
 * The boundary: the only way to start code we do not trust. Everything goes through castellan-launch, which gets a
 * ConfinedSpec over a socket that exists for one launch and says which step failed, if one did.
 */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { LaunchedProcess, Report, SessionKind } from '../audit/event.ts';
import { CastellanError, type ErrorCode, errnoOf } from '../errors.ts';
import { type Posix, posix } from '../kernel/posix.ts';
import { killProcess } from '../kernel/processes.ts';
import { createTurns } from '../lib/turns.ts';
import type { SandboxIdentity } from './cell.ts';
import { connected, isConnectError } from './connected.ts';
import { encodeSpec } from './encode.ts';
import { startInherited, startSilent } from './inherit.ts';
import { startWithPipes } from './pipes.ts';
import {
  type RunningProcess,
  runningProcess,
  type StartedLauncher,
  type TerminalSize,
  within,
} from './process.ts';
import { startOnTerminal } from './pty.ts';
import {
  type ConfinedConnection,
  type ConfinedSpec,
  type LaunchFailure,
  type LaunchSpec,
  type LaunchStep,
  showTarget,
} from './spec.ts';
import { errnoName, parseStatus } from './status.ts';

export type { RunningProcess } from './process.ts';

/** Where a process's standard streams go. */
export type LaunchIo =
  /** The supervisor's own. */
  | { readonly kind: 'inherit' }
  | { readonly kind: 'pipes' }
  /** The spec must come from a command with a terminal. */
  | ({ readonly kind: 'pty' } & TerminalSize);

/** On whose account a process runs, for the record. */
export interface LaunchPurpose {
  readonly kind: SessionKind;
  readonly sessionId: string;
  readonly identity: SandboxIdentity;
}

export interface LaunchOptions {
  /** Kills the process while it is being launched, so that the launch fails, or gives one that is ending. */
  readonly signal?: AbortSignal | undefined;
}

export interface Launcher {
  /**
   * Resolves once the command itself runs, confined. Without a purpose (castellan's own roles) nothing is reported.
   * @throws CastellanError `command_not_found`, `command_not_executable`, `kernel_feature_missing`, `launch_failed`,
   *   `timeout`, `install_incomplete`; the command has not run then.
   */
  launch(
    spec: ConfinedSpec,
    io: LaunchIo,
    purpose?: LaunchPurpose,
    options?: LaunchOptions,
  ): Promise<RunningProcess>;
  /**
   * Makes a connection as a command in the cell would, and gives its descriptor, which is the caller's. Nothing is reported.
   * @throws CastellanError `launch_failed` with step `launch/connect` and errno where the target does not take it; else as launch()
   */
  connect(spec: ConfinedConnection, options?: LaunchOptions): Promise<number>;
}

export interface LauncherOptions {
  readonly launcherPath: string;
  /** Its `launch` directory holds the sockets; nobody but the supervisor may enter it. */
  readonly runDirectory: string;
  readonly report: Report;
  /** Undefined while there is room for facts; else settles when there is again. Nothing is launched until then: its record would be lost. */
  readonly congestion?: (() => Promise<void> | undefined) | undefined;
}

/** The steps take milliseconds; a machine under heavy load may need seconds. */
const LAUNCH_DEADLINE_MS = 10_000;
/** A launcher that reported a failure, or was killed, only has to exit. */
const EXIT_DEADLINE_MS = 5000;
/** Each launch holds one of libuv's four threads; commands and identities must find one while a client asks for a hundred forwards. */
const MAX_CONNECTING = 2;
const SOCKET_MODE = 0o600;

/** Makes the one launcher of a sandbox. */
export function createLauncher({
  launcherPath,
  runDirectory,
  report,
  congestion,
}: LauncherOptions): Launcher {
  const directory = join(runDirectory, 'launch');
  const inTurn = createTurns(MAX_CONNECTING);
  return {
    async launch(spec, io, purpose, { signal } = {}) {
      await congestion?.();
      const startedAt = performance.now();
      try {
        // Castellan's own processes open none of their streams again, and to give them away takes CAP_CHOWN.
        const owner = purpose === undefined ? undefined : spec.credentials?.uid;
        const { started } = await startConfined(spec, {
          directory,
          start: (socketPath) => startLauncher(launcherPath, socketPath, io, owner, spec.cgroup),
          serve: posix().serveLaunch,
          signal,
        });
        const running = runningProcess(started);
        if (purpose !== undefined) reportLife(running, spec, purpose, startedAt, report);
        return running;
      } catch (error) {
        const refused = asLaunchError(error, spec, launcherPath);
        if (purpose !== undefined) reportRefusal(refused, spec, purpose, report);
        throw refused;
      }
    },
    async connect(spec, { signal } = {}) {
      await congestion?.();
      try {
        const { connection } = await inTurn(() =>
          startConfined(spec, {
            directory,
            start: (socketPath) => startSilent(launcherPath, socketPath, spec.cgroup?.directory),
            serve: posix().serveConnect,
            signal,
          }),
        );
        if (connection === undefined) throw new Error('the launcher gave no connection');
        return await connected(connection, signal);
      } catch (error) {
        throw asLaunchError(error, spec, launcherPath);
      }
    },
  };
}

interface LaunchMeans {
  /** Of the launch's socket. */
  readonly directory: string;
  readonly start: (socketPath: string) => Promise<StartedLauncher>;
  readonly serve: Posix['serveLaunch'] | Posix['serveConnect'];
  readonly signal: AbortSignal | undefined;
}

async function startConfined(
  spec: LaunchSpec,
  { directory, start, serve, signal }: LaunchMeans,
): Promise<{ readonly started: StartedLauncher; readonly connection?: number }> {
  signal?.throwIfAborted();
  const socketPath = join(directory, `${randomBytes(8).toString('hex')}.sock`);
  const listener = posix().listenUnix(socketPath, SOCKET_MODE);
  try {
    const started = await start(socketPath);
    const kill = killerOf(started);
    using _ = onAbort(signal, kill);
    try {
      const { bytes, descriptors } = encodeSpec(started.inCgroup ? { ...spec, cgroup: undefined } : spec);
      const answer = await serve(listener, started.pid, bytes, descriptors, LAUNCH_DEADLINE_MS);
      if (typeof answer === 'number') return { started, connection: answer };
      const failure = parseStatus(answer);
      if (failure === undefined) return { started };
      throw new StepFailed(failure);
    } catch (error) {
      await endLauncher(started, kill);
      throw error;
    }
  } finally {
    posix().close(listener);
    await rm(socketPath, { force: true });
  }
}

function startLauncher(
  program: string,
  socketPath: string,
  io: LaunchIo,
  owner: number | undefined,
  cgroup: ConfinedSpec['cgroup'],
): Promise<StartedLauncher> {
  switch (io.kind) {
    case 'inherit':
      return startInherited(program, socketPath, cgroup?.directory);
    case 'pipes':
      return startWithPipes(program, socketPath, owner, cgroup?.directory);
    case 'pty':
      return startOnTerminal(program, socketPath, io, owner);
  }
}

/** It may not lead a process group yet, so it is killed by its own pid, which is ours until `exited`. */
function killerOf({ pid, exited }: StartedLauncher): () => void {
  let alive = true;
  void exited.then(() => {
    alive = false;
  });
  return () => {
    if (alive) killProcess(pid, 'SIGKILL');
  };
}

function onAbort(signal: AbortSignal | undefined, act: () => void): Disposable {
  if (signal?.aborted) act();
  signal?.addEventListener('abort', act);
  return { [Symbol.dispose]: () => signal?.removeEventListener('abort', act) };
}

async function endLauncher({ exited, discard }: StartedLauncher, kill: () => void): Promise<void> {
  // Lets an exit that was waited for already be seen first.
  await within(exited, 0);
  kill();
  await within(exited, EXIT_DEADLINE_MS);
  discard();
}

/** What the launcher said; it becomes a CastellanError where the command is known. */
class StepFailed extends Error {
  readonly failure: LaunchFailure;

  constructor(failure: LaunchFailure) {
    super(`step ${failure.step} failed`);
    this.failure = failure;
  }
}

const NOT_FOUND: readonly string[] = ['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'];
const NOT_EXECUTABLE: readonly string[] = [
  'EACCES',
  'EPERM',
  'ENOEXEC',
  'EISDIR',
  'ELOOP',
  'ETXTBSY',
  'ELIBBAD',
];
const UNSUPPORTED: readonly string[] = ['ENOSYS', 'EOPNOTSUPP'];

function asLaunchError(error: unknown, spec: LaunchSpec, launcherPath: string): CastellanError {
  if (error instanceof CastellanError) return error;
  const command = spec.target === undefined ? (spec.argv[0] ?? '') : showTarget(spec.target);
  if (error instanceof StepFailed) {
    const { step, object } = error.failure;
    const errno = errnoName(error.failure.errno);
    const code = codeOf(error.failure, errno);
    return new CastellanError(code, failureMessage(step, command, errno), {
      step: `launch/${step}`,
      object: object || command,
      errno,
    });
  }
  const errno = errnoOf(error);
  if (isConnectError(error))
    return new CastellanError('launch_failed', failureMessage('connect', command, errno ?? ''), {
      ...{ step: 'launch/connect', object: command, cause: error },
      ...(errno && { errno }),
    });
  const facts = { step: 'launch', object: command, cause: error, ...(errno && { errno }) };
  if (errno === 'ETIMEDOUT')
    return new CastellanError('timeout', `the launch of ${command} took too long`, facts);
  const syscall = error instanceof Error && 'syscall' in error ? String(error.syscall) : '';
  if (errno === 'ENOENT' && syscall.startsWith('spawn'))
    return new CastellanError('install_incomplete', `${launcherPath} is missing`, {
      ...facts,
      object: launcherPath,
    });
  return new CastellanError('launch_failed', `${command} could not be launched`, facts);
}

function failureMessage(step: LaunchStep, command: string, errno: string): string {
  if (step === 'execute') return `${command} cannot be run: ${errno}`;
  if (step === 'connect') return `${command} cannot be connected to: ${errno}`;
  return `the launch of ${command} failed: ${errno}`;
}

function codeOf({ step }: LaunchFailure, errno: string): ErrorCode {
  if (step === 'execute' && NOT_FOUND.includes(errno)) return 'command_not_found';
  if (step === 'execute' && NOT_EXECUTABLE.includes(errno)) return 'command_not_executable';
  if (step === 'landlock' && UNSUPPORTED.includes(errno)) return 'kernel_feature_missing';
  return 'launch_failed';
}

function reportLife(
  running: RunningProcess,
  spec: ConfinedSpec,
  purpose: LaunchPurpose,
  startedAt: number,
  report: Report,
): void {
  const { kind, sessionId, identity } = purpose;
  const process: LaunchedProcess = {
    pid: running.pid,
    argv: spec.argv,
    uid: identity.uid,
    gid: identity.gid,
    user: identity.user,
    kind,
    sessionId,
  };
  report({ kind: 'process-launched', process });
  void running.exited.then((status) => {
    report({ kind: 'process-exited', process, ...status, durationMs: performance.now() - startedAt });
  });
}

function reportRefusal(
  error: CastellanError,
  spec: ConfinedSpec,
  { sessionId }: LaunchPurpose,
  report: Report,
): void {
  const { step, object, errno = error.code } = error;
  report({ kind: 'launch-refused', argv: spec.argv, sessionId, step, errno, object });
}
