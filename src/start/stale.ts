import { rm } from 'node:fs/promises';
import { killProcess, processesWithInterface } from '../kernel/processes.ts';
import { type KnownRun, knownRuns } from './run-directory.ts';

/**
 * Ends what dead runs left: their confined processes (found by the name of the inner network interface, which only
 * they can see, and which keeps the namespace and its ruleset alive) and their run directories.
 * Returns the names of the runs it cleaned.
 */
export async function cleanDeadRuns(base: string): Promise<string[]> {
  const dead = (await knownRuns(base)).filter(({ alive }) => !alive);
  for (const run of dead) await cleanRun(run);
  return dead.map(({ state }) => state.name);
}

async function cleanRun({ path, state }: KnownRun): Promise<void> {
  // Interface names come from a file of ours, but an empty one would match nothing or everything.
  if (/^cs-[0-9a-f]{8}$/.test(state.networkInterface)) {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const pids = await processesWithInterface(state.networkInterface);
      if (pids.length === 0) break;
      for (const pid of pids) killProcess(pid, 'SIGKILL');
    }
  }
  await rm(path, { recursive: true, force: true });
}

/** Each round kills all that the last one saw forking; a fork bomb loses within a few. */
const MAX_ROUNDS = 50;
