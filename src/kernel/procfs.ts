/** Which process is behind a connection, as /proc (proc(5)) and sock_diag(7) tell it. */
import { lstat, readFile, readlink, stat } from 'node:fs/promises';
import type { Flow, Identity, IdentityResult } from '../egress/stages.ts';
import { errnoOf } from '../errors.ts';
import { createExecutableTrust, type ExecutableTrust, openExecutable } from './executable-trust.ts';
import { posix } from './posix.ts';
import { statFields } from './processes.ts';

/** Deeper chains than this no person reads and no rule needs; a longer one loses its far end, and with it only rights. */
const MAX_ANCESTORS = 64;
/** A process may fork, exec or end while it is looked at; one that does so this often is refused. */
const MAX_ATTEMPTS = 3;
/** Different programs on one connection: clients hand theirs down to a helper or two, without meaning to. */
const MAX_HEIRS = 16;
const DELETED = ' (deleted)';

export interface ProcessStat {
  readonly parent: number;
  /** Clock ticks since boot: with the pid it names one process for ever. */
  readonly startTime: string;
}

/**
 * Fields 4 and 22 of /proc/pid/stat; undefined for anything malformed.
 */
export function parseStat(text: string): ProcessStat | undefined {
  const { parent, startTime } = statFields(text);
  if (!/^\d+$/.test(parent) || !/^\d+$/.test(startTime)) return undefined;
  return { parent: Number(parent), startTime };
}

export interface IdentifierOptions {
  /** The sealed namespace's: its NETLINK_SOCK_DIAG socket and its inode. */
  readonly diag: number;
  readonly inode: string;
  /** Where chains of ancestors end; its parent, the init that adopts orphans, ends them too. */
  readonly supervisorPid: number;
}

/** Never rejects: whatever stands in the way of an identity is the reason of a refusal. */
export type Identifier = (flow: Flow) => Promise<IdentityResult>;

/** An identifier with its own memory of executables (trust on first use). */
export function createIdentifier(options: IdentifierOptions): Identifier {
  const trust = createExecutableTrust();
  return async (flow) => {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      try {
        return { ok: true, identity: await identify(flow, options, trust) };
      } catch (error) {
        if (!isChange(error))
          return { ok: false, reason: error instanceof Error ? error.message : String(error) };
      }
    }
    return { ok: false, reason: 'the processes behind the connection keep changing' };
  };
}

/** Throws ProcessChanged, or an error of /proc, where trying again may help; the message of any other is the reason. */
async function identify(flow: Flow, options: IdentifierOptions, trust: ExecutableTrust): Promise<Identity> {
  const { family, localAddress, localPort, remoteAddress, remotePort } = flow;
  const socket = posix().tcpSocket(options.diag, family, localAddress, localPort, remoteAddress, remotePort);
  if (socket === undefined) throw new Error('the workload has no such connection');
  const boundary = new Set([1, options.supervisorPid, (await readStat(options.supervisorPid)).parent]);
  const holders = new Map<string, Observation>();
  for (const pid of await posix().socketOwners(socket.inode, options.inode)) {
    const observation = await observe(pid, boundary, trust);
    if (!holders.has(observation.key)) holders.set(observation.key, observation);
  }
  const [eldest, ...others] = [...holders.values()].sort(
    (one, other) => one.lineage.length - other.lineage.length,
  );
  if (eldest === undefined) throw new Error('no process holds the connection');
  const heirs = others.map((other) => ({ ...heirOf(eldest, other), uid: socket.uid }));
  if (heirs.length > MAX_HEIRS) throw new Error(`ambiguous: ${heirs.length} programs hold the connection`);
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
  readonly process: Omit<Identity, 'uid'>;
  readonly lineage: readonly [LineageEntry, ...LineageEntry[]];
  /** Equal for processes that a rule cannot tell apart. */
  readonly key: string;
}

/** One owner, looked at between two equal views of it and its ancestors. */
async function observe(
  pid: number,
  boundary: ReadonlySet<number>,
  trust: ExecutableTrust,
): Promise<Observation> {
  const lineage = await readLineage(pid, boundary);
  const [self, ...parents] = lineage;
  await using opened = await openExecutable(pid);
  const { executable, startTime } = self;
  if (executable.startsWith('/memfd:')) throw new Error('the executable lies in memory and has no path');
  const sha256 = await trust(executable, opened);
  if (JSON.stringify(await readLineage(pid, boundary)) !== JSON.stringify(lineage))
    throw new ProcessChanged();
  const ancestors = parents.map((parent) => parent.executable);
  const key = JSON.stringify([executable, opened.fingerprint, ancestors]);
  return { process: { pid, startTime, executable, sha256, ancestors }, lineage, key };
}

class ProcessChanged extends Error {}

interface LineageEntry extends ProcessStat {
  readonly pid: number;
  readonly executable: string;
}

/** The process itself and its ancestors below the boundary, nearest first. */
async function readLineage(
  pid: number,
  boundary: ReadonlySet<number>,
): Promise<readonly [LineageEntry, ...LineageEntry[]]> {
  const self = await readEntry(pid);
  const ancestors: LineageEntry[] = [];
  let { parent } = self;
  // A parent of 0 lies outside our pid namespace.
  while (parent !== 0 && !boundary.has(parent) && ancestors.length < MAX_ANCESTORS) {
    const entry = await readEntry(parent);
    ancestors.push(entry);
    parent = entry.parent;
  }
  return [self, ...ancestors];
}

async function readEntry(pid: number): Promise<LineageEntry> {
  return { pid, ...(await readStat(pid)), executable: await executablePath(pid) };
}

async function readStat(pid: number): Promise<ProcessStat> {
  const status = parseStat(await readFile(`/proc/${pid}/stat`, 'latin1'));
  if (status === undefined) throw new Error(`/proc/${pid}/stat is malformed`);
  return status;
}

/**
 * The path a process was started from. The kernel marks an unlinked one with ` (deleted)`; the mark goes only when
 * nothing is at the path any more, or a program could inherit the rights of the file that took its place.
 */
async function executablePath(pid: number): Promise<string> {
  const link = await readlink(`/proc/${pid}/exe`);
  if (!link.startsWith('/')) throw new Error(`the executable of process ${pid} has no path`);
  if (!link.endsWith(DELETED)) return link;
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
