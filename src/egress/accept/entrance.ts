/** Where clients come in: accepted, counted, numbered, and never without an owner or an error handler. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { Report } from '../../audit/event.ts';
import { errnoOf } from '../../errors.ts';
import type { EgressLimits } from '../limits.ts';
import type { Listener } from './listeners.ts';

export interface Client {
  readonly socket: Socket;
  readonly connectionId: string;
  /** Aborted when the socket is closed. */
  readonly signal: AbortSignal;
}

export interface Entrance {
  /** Accepts on one listener, which it owns from here on. Resolves to the bound address once it listens. */
  open(
    listener: Listener,
    onClient: (client: Client) => void,
    /** Tells a client that there is no place, and closes. */
    onFull?: (socket: Socket) => void,
  ): Promise<AddressInfo>;
  /** No new clients. */
  shut(): void;
  /** Settles when the last client is gone, or after `ms`, when the rest are thrown out. */
  drain(ms: number): Promise<void>;
  /** Clients that are inside. */
  readonly clients: number;
}

/** Without a reason, an exception with a stack would be made for every client. */
const GONE = 'the client is gone';

/** One entrance for all listeners, so that one limit counts every client. */
export function createEntrance(limits: EgressLimits, report: Report): Entrance {
  const servers: Server[] = [];
  const inside = new Set<Socket>();
  let onEmpty = (): void => {};
  const admit = (
    socket: Socket,
    onClient: (client: Client) => void,
    onFull: (socket: Socket) => void,
  ): void => {
    // A reset may come at any time, also while no stage listens.
    socket.on('error', () => {});
    const gone = new AbortController();
    inside.add(socket);
    socket.once('close', () => {
      inside.delete(socket);
      gone.abort(GONE);
      if (inside.size === 0) onEmpty();
    });
    if (inside.size > limits.connections + limits.turnedAway) socket.destroy();
    else if (inside.size > limits.connections) onFull(socket);
    else onClient({ socket, connectionId: randomUUID(), signal: gone.signal });
  };
  return {
    async open(listener, onClient, onFull = (socket) => void socket.destroy()) {
      const server = createServer({ allowHalfOpen: true, noDelay: true });
      servers.push(server);
      server.on('connection', (socket) => admit(socket, onClient, onFull));
      server.listen(listener);
      await once(server, 'listening');
      server.on('error', acceptErrorReporter(limits, report));
      return server.address() as AddressInfo;
    },
    shut() {
      for (const server of servers) server.close();
    },
    async drain(ms) {
      if (inside.size > 0)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          onEmpty = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      for (const socket of inside) socket.destroy();
    },
    get clients() {
      return inside.size;
    },
  };
}

/** libuv goes on accepting by itself: without descriptors it drops the waiting clients, so that there is no busy loop. */
function acceptErrorReporter(limits: EgressLimits, report: Report): (error: Error) => void {
  let silentUntil = 0;
  return (error) => {
    const now = performance.now();
    if (now < silentUntil) return;
    silentUntil = now + limits.acceptErrorMs;
    report({ kind: 'internal-error', where: 'egress/accept', message: errnoOf(error) ?? error.message });
  };
}
