import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { posix } from '../kernel/posix.ts';
import { type ExitStatus, exitStatus, type StartedLauncher } from './process.ts';

/** Descriptors that become the standard streams. */
export type Streams = readonly [number, number, number];

type SpawnedLauncher = Pick<StartedLauncher, 'pid' | 'exited' | 'inCgroup'>;

/**
 * Starts the launcher with nothing but its standard streams: an empty environment, no other descriptor.
 *
 * @param cgroup directory of the cgroup that it is born in, where the kernel lets it
 */
export async function spawnLauncher(
  program: string,
  socketPath: string,
  streams: Streams,
  cgroup: number | undefined,
): Promise<SpawnedLauncher> {
  const born = cgroup === undefined ? undefined : bearLauncher(program, socketPath, streams, cgroup);
  if (born !== undefined) return born;
  const child = spawn(program, [socketPath], { stdio: [...streams], env: {}, cwd: '/' });
  const exited = new Promise<ExitStatus>((resolve) => {
    child.once('exit', (code, signal) => resolve(exitStatus(code, signal)));
  });
  await once(child, 'spawn');
  if (child.pid === undefined) throw new Error('a spawned process has no pid');
  return { pid: child.pid, exited, inCgroup: false };
}

/** Undefined where it cannot be, for whatever reason: then the launcher is started as any other program, and joins. */
function bearLauncher(
  program: string,
  socketPath: string,
  streams: Streams,
  cgroup: number,
): SpawnedLauncher | undefined {
  let started: [number, number];
  try {
    started = posix().spawnInto(program, socketPath, streams, cgroup);
  } catch {
    return undefined;
  }
  const [pid, process] = started;
  const { promise: exited, resolve } = Promise.withResolvers<ExitStatus>();
  const stop = posix().watchReadable(process, () => {
    const [code, signal] = posix().reap(process) ?? [];
    if (code === undefined || signal === undefined) return;
    stop();
    posix().close(process);
    resolve(exitStatus(code, signal));
  });
  return { pid, exited, inCgroup: true };
}

/** The process gets /dev/null three times: it says all it has to say to the supervisor. */
export async function startSilent(
  program: string,
  socketPath: string,
  cgroup: number | undefined,
): Promise<StartedLauncher> {
  const nothing = openSync('/dev/null', 'r+');
  try {
    const launcher = await spawnLauncher(program, socketPath, [nothing, nothing, nothing], cgroup);
    return { ...launcher, io: { kind: 'none' }, discard() {} };
  } finally {
    closeSync(nothing);
  }
}

/** The process gets the supervisor's own standard streams. */
export async function startInherited(
  program: string,
  socketPath: string,
  cgroup: number | undefined,
): Promise<StartedLauncher> {
  const launcher = await spawnLauncher(program, socketPath, [0, 1, 2], cgroup);
  return { ...launcher, io: { kind: 'inherit' }, discard() {} };
}
