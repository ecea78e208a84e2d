/** Starts castellan-launch directly, as launch() does, but with specs that confine() would never make. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { posix } from '../../src/kernel/posix.ts';
import { encodeSpec } from '../../src/launch/encode.ts';
import type { LaunchFailure, LaunchSpec } from '../../src/launch/spec.ts';
import { parseStatus } from '../../src/launch/status.ts';
import { LAUNCHER } from '../fakes/cell.ts';

export const UID = 20_002;
export const PATH = '/usr/local/bin:/usr/bin:/bin';
const DEADLINE_MS = 20_000;

/** The least that launches a command as a uid that owns nothing. */
export function spec(argv: readonly string[], change: Partial<LaunchSpec> = {}): LaunchSpec {
  return {
    argv,
    environment: [`PATH=${PATH}`],
    workingDirectory: '/',
    directoryAccess: [],
    cgroup: undefined,
    checkOnly: false,
    credentials: { uid: UID, gid: UID, groups: [] },
    newSession: true,
    resourceLimits: [],
    umask: 0o022,
    namespaces: { user: undefined, network: undefined },
    view: undefined,
    mounts: [],
    landlock: undefined,
    seccomp: 'agent',
    seccompRelax: [],
    keep: [],
    target: undefined,
    ...change,
  };
}

export interface Outcome {
  /** Undefined after a successful execve. */
  readonly failure: LaunchFailure | undefined;
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Start {
  readonly input?: string;
  /** A program and its arguments that become the launcher, for starts with other rights than the test has. */
  readonly wrapper?: readonly string[];
  /** Descriptors that the launcher inherits, at 3 and up. */
  readonly leaked?: readonly number[];
}

/** Launches and waits for the end of the command. */
export function launch(wanted: LaunchSpec, start: Start = {}): Promise<Outcome> {
  const { bytes, descriptors } = encodeSpec(wanted);
  return launchRaw(bytes, descriptors, start);
}

/** The same with records that encodeSpec() would not write. */
export async function launchRaw(
  bytes: Uint8Array,
  descriptors: number[] = [],
  { input = '', wrapper, leaked }: Start = {},
): Promise<Outcome> {
  using place = socketPlace();
  const listener = posix().listenUnix(place.path, 0o666);
  try {
    const child = startLauncher(place, wrapper, leaked);
    const outcome = collect(child);
    child.stdin.on('error', () => undefined).end(input);
    const status = await posix().serveLaunch(listener, child.pid, bytes, descriptors, DEADLINE_MS);
    return { failure: parseStatus(status), ...(await outcome) };
  } finally {
    posix().close(listener);
  }
}

export interface Connected {
  /** Undefined after a failure; the caller's. */
  readonly connection: number | undefined;
  readonly failure: LaunchFailure | undefined;
  readonly code: number | null;
}

/** Has the launcher connect; `watch` sees it while it waits for its spec. */
export async function connectBy(
  wanted: LaunchSpec,
  {
    wrapper,
    watch = async () => {},
  }: Pick<Start, 'wrapper'> & { readonly watch?: (pid: number) => Promise<void> } = {},
): Promise<Connected> {
  const { bytes, descriptors } = encodeSpec({ ...wanted, argv: [] });
  using place = socketPlace();
  const listener = posix().listenUnix(place.path, 0o666);
  try {
    const child = startLauncher(place, wrapper);
    child.stdin.end();
    await watch(child.pid);
    const answer = await posix().serveConnect(listener, child.pid, bytes, descriptors, DEADLINE_MS);
    const connection = typeof answer === 'number' ? answer : undefined;
    const failure = typeof answer === 'number' ? undefined : parseStatus(answer);
    return { connection, failure, code: (await child.exited)[0] };
  } finally {
    posix().close(listener);
  }
}

/** What the launcher answers to bytes that are not even framed; `end` closes the sending side after them. */
export async function answerTo(
  bytes: Uint8Array,
  end: boolean,
): Promise<{ readonly failure: LaunchFailure | undefined; readonly code: number | null }> {
  using place = socketPlace();
  const server = createServer({ allowHalfOpen: true });
  server.listen(place.path);
  await once(server, 'listening');
  const child = startLauncher(place);
  const [socket] = await once(server, 'connection');
  socket.write(bytes);
  if (end) socket.end();
  const status = await buffer(socket);
  socket.destroy();
  server.close();
  const [code] = await child.exited;
  return { failure: parseStatus(status), code };
}

function startLauncher(place: Place, wrapper: readonly string[] = [], leaked: readonly number[] = []) {
  const [program = '', ...args] = [...wrapper, place.launcher, place.path];
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe', ...leaked] });
  const { stdin, stdout, stderr, pid } = child;
  if (stdin === null || stdout === null || stderr === null || pid === undefined)
    throw new Error('it did not start');
  return { stdin, stdout, stderr, pid, exited: once(child, 'exit') };
}

async function collect(child: ReturnType<typeof startLauncher>) {
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    child.exited,
  ]);
  return { stdout, stderr, code, signal };
}

interface Place extends Disposable {
  readonly path: string;
  readonly launcher: string;
}

/** Where every uid may pass, whatever the repository's own directory allows. */
export function socketPlace(): Place {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-launcher-'));
  chmodSync(directory, 0o755);
  const launcher = join(directory, 'castellan-launch');
  copyFileSync(LAUNCHER, launcher);
  return {
    path: join(directory, 'socket'),
    launcher,
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
