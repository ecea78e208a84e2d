/** What Node does not tell about its own sockets. */
import type { Socket } from 'node:net';

interface Handled {
  readonly _handle: { readonly fd: number; reading: boolean; readStop(): void } | null;
  _read: () => void;
}

/** -1 for a socket that is closed. It stays the socket's own. */
export function descriptorOf(socket: Socket): number {
  return (socket as unknown as Handled)._handle?.fd ?? -1;
}

/** For good: what has been read already can still be taken with read(). */
export function stopReading(socket: Socket): void {
  const handled = socket as unknown as Handled;
  // Streams read ahead whenever they see fit, also in a later tick.
  handled._read = () => {};
  if (handled._handle === null) return;
  handled._handle.readStop();
  handled._handle.reading = false;
}
