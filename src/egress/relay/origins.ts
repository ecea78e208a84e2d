/** The connections that the requests of one client have opened, kept for those that follow. */
import type { Socket } from 'node:net';
import type { Origin } from '../exchange.ts';
import type { EgressLimits } from '../limits.ts';
import type { Reached, Upstream } from '../stages.ts';
import { createHttp1Origin } from './origin-http1.ts';
import { createHttp2Origin } from './origin-http2.ts';

export interface OriginsOptions {
  readonly limits: EgressLimits;
  /** The client's requests run beside each other, so that its origins may be offered the same. */
  readonly isHttp2: boolean;
  /** A kept connection has ended: what the client would have seen of it without a proxy, it should see now. */
  readonly onLost: () => void;
}

interface Connection {
  readonly place: string;
  readonly upstream: Upstream;
  origin: Origin | undefined;
}

/** Never shared between clients, and so not between programs. */
export class Origins {
  readonly isHttp2: boolean;
  readonly #options: OriginsOptions;
  readonly #connections = new Map<Socket, Connection>();
  /** In HTTP/1.1: the last that became free. */
  #idle: Connection | undefined;
  /** In HTTP/2: the one to a place, from the moment it is dialled. */
  readonly #shared = new Map<string, Promise<Connection | undefined>>();
  readonly #kept = new WeakSet<Connection>();
  #isClosed = false;

  constructor(options: OriginsOptions) {
    this.#options = options;
    this.isHttp2 = options.isHttp2;
  }

  /**
   * A kept connection to the place if `fits` says that its address may be used, else a new one. Never rejects if `open` does not.
   */
  async reach(
    place: string,
    fits: (address: string) => boolean,
    open: () => Promise<Reached>,
  ): Promise<Reached> {
    const idle = this.#idle;
    if (idle?.place === place && fits(idle.upstream.address)) {
      this.#idle = undefined;
      return { ok: true, upstream: idle.upstream };
    }
    const shared = await this.#shared.get(place);
    if (shared !== undefined && fits(shared.upstream.address)) return { ok: true, upstream: shared.upstream };
    const opening = open().then((reached) => this.#own(place, reached));
    if (this.isHttp2 && !this.#shared.has(place)) this.#share(place, opening);
    return (await opening).reached;
  }

  /** What carries requests on it. */
  over({ socket }: Upstream): Origin {
    const connection = this.#connections.get(socket);
    // A connection that has been closed since tells so when it is asked.
    if (connection === undefined) return createHttp1Origin(socket, { ...this.#options, onIdle() {} });
    connection.origin ??= this.#create(connection);
    return connection.origin;
  }

  /** The client is gone. */
  close(): void {
    this.#isClosed = true;
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #own(place: string, reached: Reached): { reached: Reached; connection: Connection | undefined } {
    if (!reached.ok) return { reached, connection: undefined };
    const { upstream } = reached;
    const connection: Connection = { place, upstream, origin: undefined };
    this.#connections.set(upstream.socket, connection);
    upstream.socket.once('close', () => {
      this.#connections.delete(upstream.socket);
      this.#lose(connection);
    });
    if (this.#isClosed) upstream.socket.destroy();
    return { reached, connection };
  }

  #share(place: string, opening: Promise<{ connection: Connection | undefined }>): void {
    const sharing = opening.then(({ connection }) => {
      if (connection?.upstream.protocol === 'h2' && !connection.upstream.socket.destroyed) {
        this.#kept.add(connection);
        return connection;
      }
      this.#shared.delete(place);
      return undefined;
    });
    this.#shared.set(place, sharing);
  }

  #create(connection: Connection): Origin {
    const { limits } = this.#options;
    const { socket, protocol } = connection.upstream;
    if (protocol === 'http/1.1')
      return createHttp1Origin(socket, { limits, onIdle: () => this.#keep(connection) });
    return createHttp2Origin(socket, {
      limits,
      onLost: () => this.#lose(connection),
      isKept: () => !this.#isClosed && this.#kept.has(connection),
    });
  }

  #keep(connection: Connection): void {
    const before = this.#idle;
    this.#idle = connection;
    before?.upstream.socket.destroy();
    if (this.#isClosed) connection.upstream.socket.destroy();
  }

  #lose(connection: Connection): void {
    const wasIdle = this.#idle === connection;
    const wasShared = this.#kept.delete(connection);
    if (wasIdle) this.#idle = undefined;
    if (wasShared) this.#shared.delete(connection.place);
    if ((wasIdle || wasShared) && !this.#isClosed) this.#options.onLost();
  }
}
