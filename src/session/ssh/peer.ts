/** Who may talk to the SSH socket: the file's mode keeps strangers out, this keeps the sandbox itself out. */
import { fstatSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { PeerProcess } from '../../audit/event.ts';
import { errnoOf } from '../../errors.ts';
import { hasMoreFilters } from '../../kernel/processes.ts';
import type { Cell } from '../../launch/cell.ts';

type Confines = Pick<Cell, 'namespaces' | 'seccompRelax'>;

/**
 * Why a peer is refused, as far as that can be told at once: who is looked at later has a place meanwhile, and a sandbox that reaches the
 * socket, because nothing but its filters tells it from the owner, would hold them all.
 */
export function refusePeerNow(
  { pid, uid }: PeerProcess,
  allowedUids: readonly number[],
  { namespaces: { network, user }, seccompRelax }: Confines,
): string | undefined {
  if (!allowedUids.includes(uid)) return `uid ${uid} may not connect`;
  const leaves = (network === undefined && user === undefined) || seccompRelax.includes('namespaces');
  if (!leaves) return undefined;
  try {
    return hasMoreFilters(pid) ? inside(pid) : undefined;
  } catch (error) {
    return unseen(pid, error);
  }
}

/**
 * Why a peer is refused that refusePeerNow() lets pass: one in the namespaces of the sandbox may have the owner's uid (rootless). What cannot
 * be looked at is refused. On pool threads: the main one may be scoped to the sandbox, and would see no other process.
 */
export async function refusePeer(
  { pid }: PeerProcess,
  { namespaces }: Confines,
): Promise<string | undefined> {
  try {
    const isInside =
      (await isIn(pid, 'net', namespaces.network)) || (await isIn(pid, 'user', namespaces.user));
    return isInside ? inside(pid) : undefined;
  } catch (error) {
    return unseen(pid, error);
  }
}

function inside(pid: number): string {
  return `process ${pid} is inside the sandbox`;
}

function unseen(pid: number, error: unknown): string {
  return `what confines process ${pid} cannot be seen: ${errnoOf(error) ?? String(error)}`;
}

async function isIn(pid: number, kind: string, descriptor: number | undefined): Promise<boolean> {
  return (
    descriptor !== undefined && (await stat(`/proc/${pid}/ns/${kind}`)).ino === fstatSync(descriptor).ino
  );
}
