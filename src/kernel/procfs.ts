/** Which process is behind a connection, as /proc (proc(5)) and sock_diag(7) tell it. */
import { lstat, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Flow, Identity, LookResult } from '../egress/stages.ts';
import { errnoOf } from '../errors.ts';
import { putLast } from '../lib/put-last.ts';
import { FACT_LIMITS } from '../policy/fact-limits.ts';
import { createExecutableTrust, type ExecutableTrust, openExecutable } from './executable-trust.ts';
import { posix, type SeenProcess } from './posix.ts';

/**
 * A process may fork, exec or end while it is looked at: it is looked at again, at once and then after longer and longer pauses, for on a
 * loaded machine what starts fifty programs at once takes its time. What still changes after the last is refused.
 */
const CHANGE_RETRIES_MS = [0, 0, 5, 10, 20, 40, 80];
/** Processes whose hashes are known as long as nothing about them changes; the least recently used goes. */
const MAX_KNOWN = 1024;
const DELETED = ' (deleted)';

export interface IdentifierOptions {
  /** The sealed namespace's: its NETLINK_SOCK_DIAG socket and its inode. */
  readonly diag: number;
  readonly inode: string;
  /** Where chains of ancestors end; its parent, the init that adopts orphans, ends them too. */
  readonly supervisorPid: number;
  /**
   * Set where this process has the uid of the sandbox and no capability: what a process of it hides is then not seen. The number of
   * system call filters that castellan itself has.
   */
  readonly ownFilters?: number;
}

/** Never rejects: whatever stands in the way of an identity is the reason of a refusal. */
export type Identifier = (flow: Flow) => Promise<LookResult>;

/**
 * An identifier with its own memory of executables (trust on first use). Every answer is from a look that began after the
 * question: requests of a kept connection are judged by who holds it now. Questions about one connection that come
 * during a look share the next one.
 */
export function createIdentifier(options: IdentifierOptions): Identifier {
  const means: Means = { ...options, trust: createExecutableTrust(), known: new Map() };
  const looks = new Map<string, { readonly now: Promise<LookResult>; next?: Promise<LookResult> }>();
  const look = (key: string, flow: Flow): Promise<LookResult> => {
    const now = identify(flow, means);
    const entry = { now };
    looks.set(key, entry);
    return now.finally(() => looks.get(key) === entry && looks.delete(key));
  };
  return (flow) => {
    const key = JSON.stringify(flow);
    const running = looks.get(key);
    if (running === undefined) return look(key, flow);
    running.next ??= running.now.then(() => look(key, flow));
    return running.next;
  };
}

interface Means extends IdentifierOptions {
  readonly trust: ExecutableTrust;
  readonly known: Map<number, Observation>;
}

async function identify(flow: Flow, means: Means): Promise<LookResult> {
  let [hidden, changes] = [0, 0];
  for (;;) {
    try {
      return { ok: true, identity: await findOwner(flow, means) };
    } catch (error) {
      if (errnoOf(error) === 'EACCES' && means.ownFilters !== undefined) {
        // One that is being launched hides for a moment; a client with many forwards launches many.
        hidden += 1;
        if (hidden === MAX_HIDDEN) return { ok: false, reason: HIDDEN };
        await sleep(HIDDEN_RETRY_MS);
      } else if (isChange(error)) {
        const pause = CHANGE_RETRIES_MS[changes];
        changes += 1;
        if (pause === undefined) return { ok: false, reason: CHANGING };
        if (pause > 0) await sleep(pause);
      } else return { ok: false, reason: error instanceof Error ? error.message : String(error) };
    }
  }
}

const CHANGING = 'the processes behind the connection keep changing';
const HIDDEN = 'a process of the sandbox hides what it holds open';
const HIDDEN_RETRY_MS = 30;
const MAX_HIDDEN = 8;

/** Throws ProcessChanged, or an error of /proc, where trying again may help; the message of any other is the reason. */
async function findOwner(flow: Flow, means: Means): Promise<Identity> {
  const { family, localAddress, localPort, remoteAddress, remotePort } = flow;
  const socket = posix().tcpSocket(means.diag, family, localAddress, localPort, remoteAddress, remotePort);
  if (socket === undefined) throw new Error('the workload has no such connection');
  const holders = new Map<string, Observation>();
  for (const pid of await posix().socketOwners(socket.inode, means.inode, means.ownFilters ?? -1)) {
    // In a pod it is in the sandbox's network too: what it holds is somebody's forward, and no program's.
    if (pid === means.supervisorPid) throw new Error('castellan itself holds the connection');
    const observation = await observe(pid, means);
    if (!holders.has(observation.key)) holders.set(observation.key, observation);
  }
  const [eldest, ...others] = [...holders.values()].sort(
    (one, other) => one.lineage.length - other.lineage.length,
  );
  if (eldest === undefined) throw new Error('no process holds the connection');
  const heirs = others.map((other) => ({ ...heirOf(eldest, other), uid: socket.uid }));
  if (heirs.length > FACT_LIMITS.heirs)
    throw new Error(`ambiguous: ${heirs.length} programs hold the connection`);
  return { ...eldest.process, uid: socket.uid, ...(heirs.length > 0 && { heirs }) };
}

/**
 * A process that has the connection because it descends from the eldest holder. A socket goes to every child unless a program
 * closes it, as git's does not. Between processes of no such relation one could borrow the other's rights.
 */
function heirOf(eldest: Observation, { process, lineage }: Observation): Observation['process'] {
  const [self] = eldest.lineage;
  const place = lineage.findIndex(({ pid, startTime }) => pid === self.pid && startTime === self.startTime);
  if (place < 1)
    throw new Error(
      `ambiguous: processes ${self.pid} and ${process.pid} of different origin hold the connection`,
    );
  // Looked at one after the other: in between, the eldest may have become another program.
  if (JSON.stringify(lineage.slice(place)) !== JSON.stringify(eldest.lineage)) throw new ProcessChanged();
  return process;
}

interface Observation {
  /** All that was seen of it and its ancestors: while that stays equal, so does the rest. */
  readonly view: string;
  readonly process: Omit<Identity, 'uid'>;
  readonly lineage: readonly [SeenProcess, ...SeenProcess[]];
  /** Equal for processes that a rule cannot tell apart. */
  readonly key: string;
}

/** One owner, looked at between two equal views of it and its ancestors; the first of them may be one of an earlier look. */
async function observe(pid: number, means: Means): Promise<Observation> {
  const { known, trust } = means;
  const lineage = await readLineage(pid, means);
  const view = JSON.stringify(lineage);
  const before = known.get(pid);
  known.delete(pid);
  if (before?.view === view) {
    known.set(pid, before);
    return before;
  }
  const [self, ...parents] = lineage;
  const { executable, startTime } = self;
  if (executable.startsWith('/memfd:')) throw new Error('the executable lies in memory and has no path');
  const hash = async (seen: SeenProcess): Promise<string> => {
    if (!seen.executable.startsWith('/'))
      throw new Error(`the executable of process ${seen.pid} has no path`);
    return trust(seen.executable, { fingerprint: seen.fingerprint, open: () => openSeen(seen) });
  };
  const sha256 = await hash(self);
  // One after the other: a chain of large files must not take more than its turn from other questions.
  const ancestorHashes: string[] = [];
  for (const parent of parents) ancestorHashes.push(await hash(parent).catch(untrusted));
  if (JSON.stringify(await readLineage(pid, means)) !== view) throw new ProcessChanged();
  const ancestors = parents.map((parent) => parent.executable);
  const process = { pid, startTime, executable, sha256, ancestors, ancestorHashes };
  const key = JSON.stringify([executable, sha256, ancestors, ancestorHashes]);
  const observation = { view, process, lineage, key };
  // What stood in the way of trust, such as a slow disk, may be over.
  if (!ancestorHashes.includes('')) putLast(known, pid, observation, MAX_KNOWN);
  return observation;
}

/** What cannot be trusted gives no rights to what it started, and takes none of its own away. */
function untrusted(error: unknown): '' {
  if (isChange(error)) throw error;
  return '';
}

class ProcessChanged extends Error {}

async function openSeen({ pid, fingerprint }: SeenProcess): ReturnType<typeof openExecutable> {
  const opened = await openExecutable(pid);
  if (opened.fingerprint === fingerprint) return opened;
  await opened[Symbol.asyncDispose]();
  throw new ProcessChanged();
}

/** The process itself and its ancestors below the supervisor, nearest first, each with the path it was started from. */
async function readLineage(
  pid: number,
  { supervisorPid }: IdentifierOptions,
): Promise<readonly [SeenProcess, ...SeenProcess[]]> {
  const [self, ...parents] = await posix().lineage(pid, supervisorPid);
  const named = async (seen: SeenProcess): Promise<SeenProcess> =>
    seen.executable.endsWith(DELETED) ? { ...seen, executable: await unlinkedPath(seen) } : seen;
  return [await named(self), ...(await Promise.all(parents.map(named)))];
}

/**
 * The path a process was started from. The kernel marks an unlinked one with ` (deleted)`; the mark goes only when
 * nothing is at the path any more, or a program could inherit the rights of the file that took its place.
 */
async function unlinkedPath({ pid, executable: link }: SeenProcess): Promise<string> {
  const root = `/proc/${pid}/root`;
  const [running, literal] = await Promise.all([
    stat(`/proc/${pid}/exe`),
    stat(root + link).catch(() => undefined),
  ]);
  if (literal !== undefined && literal.dev === running.dev && literal.ino === running.ino) return link;
  const path = link.slice(0, -DELETED.length);
  return (await isAbsent(root + path)) ? path : link;
}

async function isAbsent(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return false;
  } catch (error) {
    return errnoOf(error) === 'ENOENT';
  }
}

function isChange(error: unknown): boolean {
  const errno = errnoOf(error);
  return error instanceof ProcessChanged || errno === 'ENOENT' || errno === 'ESRCH';
}
