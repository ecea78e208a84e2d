import { killProcess, processesInNamespace } from '../kernel/processes.ts';

/** Between looks for survivors; a process needs a moment to act on a signal, and the look itself costs a /proc walk. */
const POLL_MS = 20;
/** After KILL nothing can refuse for long; what is still there then is stuck in the kernel. */
const KILL_DEADLINE_MS = 5000;

/**
 * Ends every process of the sandbox: TERM, a grace, then KILL until none is left. Daemons that forked
 * away are found too, because none can leave the sealed namespace.
 */
export async function endSandboxProcesses(namespaceInode: string, graceMs: number): Promise<void> {
  const survivors = () => processesInNamespace(namespaceInode);
  if ((await signalAll(survivors, 'SIGTERM')) === 0) return;
  await signalAll(survivors, 'SIGCONT');
  if (await goneWithin(survivors, graceMs, () => {})) return;
  await goneWithin(survivors, KILL_DEADLINE_MS, (pid) => killProcess(pid, 'SIGKILL'));
}

async function signalAll(survivors: () => Promise<number[]>, signal: NodeJS.Signals): Promise<number> {
  const pids = await survivors();
  for (const pid of pids) killProcess(pid, signal);
  return pids.length;
}

async function goneWithin(
  survivors: () => Promise<number[]>,
  limitMs: number,
  each: (pid: number) => void,
): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const pids = await survivors();
    if (pids.length === 0) return true;
    for (const pid of pids) each(pid);
    if (performance.now() >= deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
