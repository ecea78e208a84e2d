/** Who may talk to the SSH socket: the file's mode keeps strangers out, this keeps the sandbox itself out. */
import { fstatSync, statSync } from 'node:fs';
import type { PeerProcess } from '../../audit/event.ts';
import { errnoOf } from '../../errors.ts';
import type { Cell } from '../../launch/cell.ts';

/**
 * Why a peer is refused, or undefined when it may come in. A process of the sandbox may have the owner's uid
 * (rootless), so its namespaces are looked at too; what cannot be looked at is refused.
 */
export function refusePeer(
  peer: PeerProcess,
  allowedUids: readonly number[],
  namespaces: Cell['namespaces'],
): string | undefined {
  if (!allowedUids.includes(peer.uid)) return `uid ${peer.uid} may not connect`;
  for (const [name, descriptor] of [
    ['net', namespaces.network],
    ['user', namespaces.user],
  ] as const) {
    if (descriptor === undefined) continue;
    try {
      if (statSync(`/proc/${peer.pid}/ns/${name}`).ino === fstatSync(descriptor).ino)
        return `process ${peer.pid} is inside the sandbox`;
    } catch (error) {
      return `the namespaces of process ${peer.pid} cannot be seen: ${errnoOf(error) ?? 'unknown'}`;
    }
  }
  return undefined;
}
