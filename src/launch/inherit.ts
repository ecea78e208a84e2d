import { type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type ExitStatus, exitStatus, type StartedLauncher } from './process.ts';

/** Starts the launcher with nothing but its standard streams: an empty environment, no other descriptor. */
export async function spawnLauncher(
  program: string,
  socketPath: string,
  stdio: NonNullable<SpawnOptions['stdio']>,
): Promise<{ readonly pid: number; readonly exited: Promise<ExitStatus> }> {
  const child = spawn(program, [socketPath], { stdio, env: {}, cwd: '/' });
  const exited = new Promise<ExitStatus>((resolve) => {
    child.once('exit', (code, signal) => resolve(exitStatus(code, signal)));
  });
  await once(child, 'spawn');
  if (child.pid === undefined) throw new Error('a spawned process has no pid');
  return { pid: child.pid, exited };
}

/** The process gets the supervisor's own standard streams. */
export async function startInherited(program: string, socketPath: string): Promise<StartedLauncher> {
  const launcher = await spawnLauncher(program, socketPath, 'inherit');
  return { ...launcher, io: { kind: 'inherit' }, discard() {} };
}
