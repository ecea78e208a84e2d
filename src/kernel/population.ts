/** Who belongs to a sandbox, and how all of it is ended. */
import { killProcess } from './processes.ts';

export interface Population {
  /** How it is told who belongs, and how all are ended, in words. */
  readonly means: string;
  list(): Promise<number[]>;
  /** KILL to all at once, which nothing can fork out of. Absent where the kernel offers none; then rounds of KILL must do. */
  readonly killAll?: (() => Promise<void> | void) | undefined;
}

/** Between looks for survivors; a process needs a moment to act on a signal, and the look itself costs a /proc walk. */
const POLL_MS = 20;
/** After KILL nothing can refuse for long; what is still there then is stuck in the kernel. */
const KILL_DEADLINE_MS = 5000;

/** Ends everybody: TERM, a grace, then KILL until nobody is left. Gives whether that came true. */
export async function endPopulation(population: Population, graceMs: number): Promise<boolean> {
  if ((await signalAll(population, 'SIGTERM')) === 0) return true;
  await signalAll(population, 'SIGCONT');
  if (await goneWithin(population, graceMs, () => {})) return true;
  return goneWithin(population, KILL_DEADLINE_MS, async (pids) => {
    if (population.killAll !== undefined) await population.killAll();
    else for (const pid of pids) killProcess(pid, 'SIGKILL');
  });
}

async function signalAll(population: Population, signal: NodeJS.Signals): Promise<number> {
  const pids = await population.list();
  for (const pid of pids) killProcess(pid, signal);
  return pids.length;
}

async function goneWithin(
  population: Population,
  limitMs: number,
  act: (pids: readonly number[]) => Promise<void> | void,
): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const pids = await population.list();
    if (pids.length === 0) return true;
    await act(pids);
    if (performance.now() >= deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
