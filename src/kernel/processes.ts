/** Finding and ending processes by what the kernel says of them in /proc (proc(5)). */
import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { constants } from 'node:os';
import { errnoOf } from '../errors.ts';
import { posix } from './posix.ts';

/**
 * Fields 3, 4 and 22 of /proc/pid/stat as they stand, empty where there are too few. The command name in field 2 is the
 * process's own choice and may hold spaces and parentheses, so fields are counted from the last `)`.
 */
export function statFields(text: string): {
  readonly state: string;
  readonly parent: string;
  readonly startTime: string;
} {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', parent: fields[1] ?? '', startTime: fields[19] ?? '' };
}

/** Clock ticks since boot at which `pid` started, undefined when it is gone or dead. */
export async function processStartTime(pid: number): Promise<string | undefined> {
  const stat = await readProc(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const { state, startTime } = statFields(stat);
  // Whoever should reap a dead process may never do it: its entry stays, and means nothing.
  return /^[ZX]$/.test(state) ? undefined : startTime;
}

/** How many seccomp filters a process has. @throws the system's error, and Error where the kernel does not count them */
export async function countSystemCallFilters(pid: number | 'self'): Promise<number> {
  return filtersIn(await readFile(`/proc/${pid}/status`, 'latin1'));
}

/**
 * Whether a process has more of them than castellan, as every process of a sandbox has; nobody can take one off. Without a turn of the
 * event loop in between.
 */
export function hasMoreFilters(pid: number): boolean {
  const [own, its] = ['self', pid].map((who) => filtersIn(readFileSync(`/proc/${who}/status`, 'latin1')));
  return own === undefined || its === undefined || its > own;
}

function filtersIn(status: string): number {
  const count = /^Seccomp_filters:\s+(\d+)$/m.exec(status)?.[1];
  if (count === undefined) throw new Error('this kernel does not count filters');
  return Number(count);
}

/** Processes whose network namespace has this inode. The caller keeps the namespace open, or the inode may be another's by now. */
export async function processesInNamespace(inode: string): Promise<number[]> {
  return filterProcesses(async (namespace) => namespace === inode);
}

/** Processes in whose network namespace there is an interface of this name. */
export async function processesWithInterface(name: string): Promise<number[]> {
  const known = new Map<string, boolean>();
  return filterProcesses(async (namespace, pid) => {
    const before = known.get(namespace);
    if (before !== undefined) return before;
    const devices = await readProc(`/proc/${pid}/net/dev`);
    if (devices === undefined) return false;
    const found = devices.split('\n').some((line) => line.trimStart().startsWith(`${name}:`));
    known.set(namespace, found);
    return found;
  });
}

/** All below `ancestor`, orphans that it adopted included; `without` themselves are left out, not what they started. */
export async function descendantsOf(ancestor: number, without: readonly number[]): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    const stat = Number.isSafeInteger(pid) ? await readProc(`/proc/${pid}/stat`) : undefined;
    if (stat === undefined) continue;
    const { state, parent } = statFields(stat);
    if (!/^[ZX]$/.test(state)) children.set(Number(parent), [...(children.get(Number(parent)) ?? []), pid]);
  }
  const found: number[] = [];
  const look = [ancestor];
  for (let parent = look.pop(); parent !== undefined; parent = look.pop())
    for (const child of children.get(parent) ?? []) {
      look.push(child);
      if (!without.includes(child)) found.push(child);
    }
  return found;
}

/** kill(2), of a group where `pid` is negative, also without CAP_KILL; what is gone already is fine. */
export function killProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoOf(error) === 'EPERM') signalAsOwner(pid, signal, error);
    else if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

/**
 * An agent that signals whatever is about to be started ends a sender often enough, and most of them where the two fall into step: others
 * follow for so long. Each takes some milliseconds, or a second where it is stopped; whom none of them reached is reached by the next round.
 */
const SENDERS_MS = 100;

/** `refusal` is what kill(2) said before. */
function signalAsOwner(pid: number, signal: NodeJS.Signals, refusal: unknown): void {
  // With that capability, it is not for want of it: a scope of signals refuses everybody.
  if (!lacksKill()) throw refusal;
  const until = performance.now() + SENDERS_MS;
  do {
    try {
      posix().signalAsOwner(pid, constants.signals[signal]);
      return;
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'ESRCH') return;
      // EINTR: whom it reaches ended the sender first.
      if (errno !== 'EINTR') throw refusal;
    }
  } while (performance.now() < until);
}

const CAP_KILL = 5n;

/** Whether this is root without CAP_KILL, whose signals reach processes of other users one by one only. */
export function lacksKill(): boolean {
  if (process.geteuid?.() !== 0) return false;
  const effective = /^CapEff:\t([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return effective === undefined || (BigInt(`0x${effective}`) & (1n << CAP_KILL)) === 0n;
}

/** Zombies have no namespace any more, so they are never among the results. */
async function filterProcesses(
  matches: (namespace: string, pid: number) => Promise<boolean>,
): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (!Number.isSafeInteger(pid)) continue;
    const link = await readlink(`/proc/${pid}/ns/net`).catch(() => undefined);
    const namespace = link?.match(/^net:\[(\d+)\]$/)?.[1];
    if (namespace !== undefined && (await matches(namespace, pid))) found.push(pid);
  }
  return found;
}

async function readProc(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}
