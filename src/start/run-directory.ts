/**
 * One directory per running sandbox under the run base, for its sockets and its state. Another start reads the
 * state to list sandboxes and to clean up after runs that were killed.
 */
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  rmdir,
  writeFile,
} from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import * as v from 'valibot';
import type { RunConfig } from '../config/config.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { removeCgroup } from '../kernel/cgroup.ts';
import { killProcess, processesWithInterface, processStartTime } from '../kernel/processes.ts';
import { isInterfaceName, newInterfaceName } from './interface-name.ts';

const StateSchema = v.object({
  name: v.string(),
  pid: v.number(),
  /** With the pid it names one process for ever; see proc_pid_stat(5), field 22. */
  startTime: v.string(),
  /** In which the pid means something: runs in containers may share the place of their directories. */
  pidNamespace: v.string(),
  user: v.string(),
  command: v.array(v.string()),
  startedAt: v.string(),
  auditPath: v.string(),
  /** Name of the inner network interface, unique to the run: it marks the processes that belong to it. */
  networkInterface: v.string(),
  /** The sandbox's cgroup, where it has one. */
  cgroup: v.optional(v.string()),
  ready: v.boolean(),
});
export type RunState = v.InferOutput<typeof StateSchema>;

export interface RunDirectory extends AsyncDisposable {
  readonly path: string;
  readonly sshSocket: string;
  readonly knownHosts: string;
  /** For the inner pair of the sealed namespace. */
  readonly interfaceName: string;
  /** For whoever has to clean up should this run be killed. */
  noteCgroup(path: string): Promise<void>;
  /** From now on `castellan ssh` finds the sandbox. */
  markReady(user: string): Promise<void>;
}

export interface KnownRun {
  readonly path: string;
  readonly state: RunState;
  readonly alive: boolean;
}

export function sshSocketIn(runDirectory: string): string {
  return join(runDirectory, 'ssh.sock');
}

/** Answers probes for as long as the run lives. */
export function healthSocketIn(runDirectory: string): string {
  return join(runDirectory, 'health.sock');
}

export function knownHostsIn(runDirectory: string): string {
  return join(runDirectory, 'known_hosts');
}

/** Beside a run's directory, which only its owner may enter: where another uid reaches the program. */
export function codeDirectoryOf(base: string, name: string): string {
  return join(base, `.code-${name}`);
}

/** A volume that an orchestrator has made for us is ours and may be written by everybody: closed while nobody has put anything there. */
async function takeVolume(base: string, uid: number, mode: number): Promise<void> {
  const facts = await lstat(base);
  if (!facts.isDirectory() || facts.uid !== uid || (facts.mode & 0o022) === 0) return;
  await chmod(base, mode);
  const [foreign] = await readdir(base);
  if (foreign !== undefined) throw refused(base, 'could be written by others, and is not empty');
}

/**
 * Makes the run base safe to use: a real directory of ours that nobody else can write.
 * @throws CastellanError `filesystem_refused`
 */
export async function openRunBase(base: string, uid: number): Promise<void> {
  await mkdir(dirname(base), { recursive: true });
  // The root's base may be passed through (never listed): the network role's own uid reaches its code below it.
  const mode = uid === 0 ? 0o711 : 0o700;
  await mkdir(base, { mode }).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw refused(base, 'cannot be created', error);
  });
  await takeVolume(base, uid, mode);
  const facts = await lstat(base);
  if (!facts.isDirectory() || facts.uid !== uid || (facts.mode & 0o022) !== 0)
    throw refused(base, `is not a directory that only uid ${uid} can write`);
  await chmod(base, mode);
}

/**
 * Cleans up after dead runs and claims a directory for this one.
 * @throws CastellanError `address_in_use` when a sandbox of that name runs, `filesystem_refused`
 */
export async function claimRunDirectory(
  config: RunConfig,
  surroundings: Surroundings,
): Promise<RunDirectory> {
  const { runBase, name } = config;
  await openRunBase(runBase, surroundings.uid);
  await cleanDeadRuns(runBase);
  const path = join(runBase, name);
  if (Buffer.byteLength(path) > MAX_RUN_PATH_BYTES)
    throw refused(path, 'is too long: the name of a socket below it would not fit into an address (unix(7))');
  await claim(path, name);
  const interfaceName = newInterfaceName();
  let facts: Omit<RunState, 'user' | 'ready'> = {
    name,
    pid: surroundings.pid,
    startTime: (await processStartTime(surroundings.pid)) ?? '',
    pidNamespace: await readlink(OWN_PID_NAMESPACE),
    command: [...(config.command ?? (config.mode === 'sidecar' ? ['sidecar'] : ['login', 'shell']))],
    startedAt: new Date().toISOString(),
    auditPath: config.auditPath,
    networkInterface: interfaceName,
  };
  const dispose = () => rm(path, { recursive: true, force: true });
  try {
    await mkdir(join(path, 'launch'), { mode: 0o700 });
    await writeState(path, { ...facts, user: '', ready: false });
  } catch (error) {
    await dispose();
    throw refused(path, 'cannot be prepared', error);
  }
  return {
    path,
    interfaceName,
    sshSocket: sshSocketIn(path),
    knownHosts: knownHostsIn(path),
    noteCgroup(cgroup) {
      facts = { ...facts, cgroup };
      return writeState(path, { ...facts, user: '', ready: false });
    },
    markReady: (user) => writeState(path, { ...facts, user, ready: true }),
    [Symbol.asyncDispose]: dispose,
  };
}

/** sun_path takes 107 bytes; `/launch/` and the longest socket name need 29 of them. */
const MAX_RUN_PATH_BYTES = 78;

async function claim(path: string, name: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw refused(path, 'cannot be created', error);
    throw new CastellanError('address_in_use', `a sandbox named ${name} is running already`, {
      step: 'run-directory',
      object: path,
      remedy: 'choose another --name, or stop the other sandbox',
    });
  }
}

/** Readers see the old state or the new one, never half of it. */
async function writeState(path: string, state: RunState): Promise<void> {
  const temporary = join(path, '.state.json');
  await writeFile(temporary, JSON.stringify(state), { mode: 0o600 });
  await rename(temporary, join(path, 'state.json'));
}

/** The runs under `base`, dead ones included; a directory whose state cannot be read yet is left out. */
export async function knownRuns(base: string): Promise<KnownRun[]> {
  const names = await readdir(base).catch((error: unknown): string[] => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw refused(base, 'cannot be read', error);
  });
  const runs = await Promise.all(names.map((name) => readRun(join(base, name))));
  return runs.filter((run) => run !== undefined);
}

async function readRun(path: string): Promise<KnownRun | undefined> {
  try {
    const state = v.parse(StateSchema, JSON.parse(await readFile(join(path, 'state.json'), 'utf8')));
    return { path, state, alive: await isAlive(path, state) };
  } catch {
    return undefined;
  }
}

const OWN_PID_NAMESPACE = '/proc/self/ns/pid';

/** Between the state and the socket of a run there is an instant; a machine that needs so long for it runs nothing. */
const BEGINNING_MS = 60_000;

async function isAlive(
  path: string,
  { pid, startTime, pidNamespace, startedAt }: RunState,
): Promise<boolean> {
  if (pidNamespace === (await readlink(OWN_PID_NAMESPACE)))
    return (await processStartTime(pid)) === startTime;
  // The kernel says whether somebody listens, whatever namespaces are between.
  const errno = await connectErrno(healthSocketIn(path));
  if (errno === 'ENOENT') return Date.now() - Date.parse(startedAt) < BEGINNING_MS;
  return errno !== 'ECONNREFUSED';
}

/** Undefined where somebody listens. */
function connectErrno(socketPath: string): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const socket = connect(socketPath);
  socket.once('connect', () => resolve(undefined));
  socket.once('error', (error) => resolve(errnoOf(error)));
  return promise.finally(() => socket.destroy());
}

/**
 * Ends what dead runs left: their confined processes (found by the name of the inner network interface, which only
 * they can see, and which keeps the namespace and its ruleset alive) and their directories.
 */
export async function cleanDeadRuns(base: string): Promise<void> {
  const dead = (await knownRuns(base)).filter(({ alive }) => !alive);
  for (const { path, state } of dead) {
    if (state.cgroup !== undefined) await removeCgroup(state.cgroup);
    await killByInterface(state.networkInterface);
    await rm(path, { recursive: true, force: true });
    // Empty out here, where nothing is mounted on it; were it not, the program itself would be behind it.
    await rmdir(codeDirectoryOf(base, basename(path))).catch(() => {});
  }
}

/** Each round kills all that the last one saw forking; a fork bomb loses within a few. */
const MAX_ROUNDS = 50;

async function killByInterface(name: string): Promise<void> {
  if (!isInterfaceName(name)) return;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const pids = await processesWithInterface(name);
    if (pids.length === 0) return;
    for (const pid of pids) killProcess(pid, 'SIGKILL');
  }
}

function refused(path: string, problem: string, cause?: unknown): CastellanError {
  const errno = errnoOf(cause);
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'run-directory',
    object: path,
    remedy: 'remove it, or correct its owner and mode',
    ...(errno && { errno }),
  });
}
