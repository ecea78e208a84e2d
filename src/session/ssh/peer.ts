/** Who may talk to the SSH socket: the file's mode keeps strangers out, this keeps the sandbox itself out. */
import { fstatSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { PeerProcess } from '../../audit/event.ts';
import { errnoOf } from '../../errors.ts';
import { countSystemCallFilters } from '../../kernel/processes.ts';
import type { Cell } from '../../launch/cell.ts';

/**
 * Why a peer is refused, or undefined when it may come in. A process of the sandbox may have the owner's uid (rootless), so
 * its namespaces are looked at too, or where it has none of its own or may leave them, its system call filters; what cannot be looked at is
 * refused. All of it on pool threads: the main one may be scoped to the sandbox, and would see no other process.
 */
export async function refusePeer(
  peer: PeerProcess,
  allowedUids: readonly number[],
  cell: Pick<Cell, 'namespaces' | 'seccompRelax'>,
): Promise<string | undefined> {
  if (!allowedUids.includes(peer.uid)) return `uid ${peer.uid} may not connect`;
  const { network, user } = cell.namespaces;
  const leaves = (network === undefined && user === undefined) || cell.seccompRelax.includes('namespaces');
  try {
    const inside =
      (await isIn(peer.pid, 'net', network)) ||
      (await isIn(peer.pid, 'user', user)) ||
      (leaves && (await hasMoreFilters(peer.pid)));
    return inside ? `process ${peer.pid} is inside the sandbox` : undefined;
  } catch (error) {
    return `what confines process ${peer.pid} cannot be seen: ${errnoOf(error) ?? String(error)}`;
  }
}

async function isIn(pid: number, kind: string, descriptor: number | undefined): Promise<boolean> {
  return (
    descriptor !== undefined && (await stat(`/proc/${pid}/ns/${kind}`)).ino === fstatSync(descriptor).ino
  );
}

/** Nobody can take off a seccomp filter, and every process of the sandbox has more of them than castellan itself. */
async function hasMoreFilters(pid: number): Promise<boolean> {
  return (await countSystemCallFilters(pid)) > (await countSystemCallFilters('self'));
}
