import type { Socket } from 'node:net';
import type { SocketAddress } from '../../audit/event.ts';
import { canonicalAddress } from '../../policy/match/address.ts';
import type { Flow } from '../stages.ts';

/**
 * The connection as the workload's own socket sees it. `dialled` is the original destination of a redirected one; without it
 * the far end is our own. Undefined when the client is gone already.
 */
export function flowOf(socket: Socket, dialled?: SocketAddress): Flow | undefined {
  const localAddress = canonicalAddress(socket.remoteAddress ?? '');
  const remoteAddress = canonicalAddress(dialled?.address ?? socket.localAddress ?? '');
  const localPort = socket.remotePort;
  const remotePort = dialled?.port ?? socket.localPort;
  if (localAddress === undefined || remoteAddress === undefined) return undefined;
  if (localPort === undefined || remotePort === undefined) return undefined;
  return { family: localAddress.includes(':') ? 6 : 4, localAddress, localPort, remoteAddress, remotePort };
}
