/** Tunnels whose bytes nobody looks at any more: handed to the thread that moves them in the kernel. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { posix, SPLICE_IN, SPLICE_OUT, type SplicedEnd, type SpliceRelay } from '../../kernel/posix.ts';
import { descriptorOf, stopReading } from '../../kernel/socket-handle.ts';
import type { EgressLimits } from '../limits.ts';

export interface Splicer {
  /**
   * Takes over two connected sockets, with what Node has read and not yet written. They stay open until the tunnel is over, and
   * are closed then; whoever destroys one before ends it. Rejects with the system's error where it cannot begin.
   */
  splice(client: Socket, upstream: Socket): Promise<SplicedEnd>;
  /** Resets what is under way, and ends the thread. */
  close(): void;
  /** Tunnels under way. */
  readonly tunnels: number;
}

/** One thread for all tunnels, started with the first. */
export function createSplicer({ tunnelIdleMs, halfClosedIdleMs }: EgressLimits): Splicer {
  const waiting = new Map<number, (end: SplicedEnd) => void>();
  let relay: SpliceRelay | undefined;
  const start = (): SpliceRelay =>
    posix().spliceStart(tunnelIdleMs, halfClosedIdleMs, (tunnel, how, bytesOut, bytesIn, side, code) => {
      waiting.get(tunnel)?.({ how, bytesOut, bytesIn, side, code });
      waiting.delete(tunnel);
    });
  return {
    async splice(client, upstream) {
      relay ??= start();
      const started = relay;
      const { promise, resolve } = Promise.withResolvers<SplicedEnd>();
      withdraw(client, upstream);
      withdraw(upstream, client);
      const outward = flushed(upstream);
      const inward = flushed(client);
      const ready = (outward === undefined ? SPLICE_OUT : 0) | (inward === undefined ? SPLICE_IN : 0);
      const tunnel = posix().spliceTunnel(started, descriptorOf(client), descriptorOf(upstream), ready);
      waiting.set(tunnel, resolve);
      void outward?.then(() => posix().spliceBegin(started, tunnel, SPLICE_OUT));
      void inward?.then(() => posix().spliceBegin(started, tunnel, SPLICE_IN));
      const cancel = (): void => posix().spliceCancel(started, tunnel);
      for (const socket of [client, upstream]) socket.once('close', cancel);
      const end = await promise;
      for (const socket of [client, upstream]) socket.off('close', cancel).destroy();
      return end;
    },
    close() {
      if (relay !== undefined) posix().spliceStop(relay);
    },
    get tunnels() {
      return waiting.size;
    },
  };
}

/** What Node has read ahead goes out first. */
function withdraw(from: Socket, to: Socket): void {
  // Its descriptor carries ciphertext: what is inside would leave in the clear.
  if (from instanceof TLSSocket) throw new TypeError('TLS cannot be spliced');
  stopReading(from);
  for (let chunk: Buffer | null = from.read(); chunk !== null; chunk = from.read()) to.write(chunk);
}

/** Undefined where the kernel has everything already. Each direction waits for its own receiver only: the two may depend on each other. */
function flushed(socket: Socket): Promise<void> | undefined {
  if (socket.writableLength === 0) return undefined;
  return new Promise((resolve) => socket.write('', () => resolve()));
}
