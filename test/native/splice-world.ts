/** Tunnels for the splicing thread: connections on loopback whose near ends are handed over, and whose far ends programs have. */
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { posix, SPLICE_IN, SPLICE_OUT, type SplicedEnd, type SpliceRelay } from '../../src/kernel/posix.ts';
import { descriptorOf } from '../../src/kernel/socket-handle.ts';
import { type Program, startPython } from './python.ts';

export const BOTH = SPLICE_OUT | SPLICE_IN;
const LONG_MS = 60_000;

export interface Relay {
  readonly value: SpliceRelay;
  /** Settles with the end of the tunnel. */
  ended(tunnel: number): Promise<SplicedEnd>;
}

export interface Tunnel {
  readonly id: number;
  readonly client: Socket;
  readonly upstream: Socket;
  readonly end: Promise<SplicedEnd>;
}

/** What a test opens, closed with it. */
export class SpliceWorld implements AsyncDisposable {
  readonly #undo = new AsyncDisposableStack();

  startRelay(idleMs: number = LONG_MS, halfClosedIdleMs: number = LONG_MS): Relay {
    const ends = new Map<number, PromiseWithResolvers<SplicedEnd>>();
    const of = (tunnel: number): PromiseWithResolvers<SplicedEnd> => {
      const known = ends.get(tunnel) ?? Promise.withResolvers<SplicedEnd>();
      ends.set(tunnel, known);
      return known;
    };
    const value = posix().spliceStart(
      idleMs,
      halfClosedIdleMs,
      (tunnel, how, bytesOut, bytesIn, side, code) =>
        of(tunnel).resolve({ how, bytesOut, bytesIn, side, code }),
    );
    this.#undo.defer(() => posix().spliceStop(value));
    return { value, ended: (tunnel) => of(tunnel).promise };
  }

  /** The near end of a connection that somebody else dials; Node does not read it. */
  async accept(dial: (port: number) => void): Promise<Socket> {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'connection');
    dial((server.address() as AddressInfo).port);
    const [near] = (await accepted) as [Socket];
    server.close();
    return this.#owned(near);
  }

  async connection(): Promise<{ near: Socket; far: Socket }> {
    let far: Socket | undefined;
    const near = await this.accept((port) => {
      far = this.#owned(connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }));
    });
    if (far === undefined) throw new Error('nobody dialled');
    return { near, far };
  }

  /** A Python program with `s`, its end of a connection; it ends with its standard input. */
  async program(script: string): Promise<{ near: Socket; program: Program }> {
    let program: Program | undefined;
    const near = await this.accept((port) => {
      const start = 'import socket,sys\ns=socket.create_connection(("127.0.0.1",int(sys.argv[1])))\n';
      program = this.#undo.use(startPython(`${start}${script}\nsys.stdin.read()`, [String(port)]));
    });
    if (program === undefined) throw new Error('nobody dialled');
    return { near, program };
  }

  /** Closes the near ends when the tunnel is over, as their owner does. */
  handOver(relay: Relay, client: Socket, upstream: Socket, ways = BOTH): Pick<Tunnel, 'id' | 'end'> {
    const id = posix().spliceTunnel(relay.value, descriptorOf(client), descriptorOf(upstream), ways);
    const end = relay.ended(id).then((how) => {
      client.destroy();
      upstream.destroy();
      return how;
    });
    return { id, end };
  }

  async openTunnel(relay: Relay, ways = BOTH): Promise<Tunnel> {
    const [client, upstream] = [await this.connection(), await this.connection()];
    const handed = this.handOver(relay, client.near, upstream.near, ways);
    return { ...handed, client: client.far, upstream: upstream.far };
  }

  #owned(socket: Socket): Socket {
    this.#undo.defer(() => void socket.destroy());
    return socket.on('error', () => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#undo.disposeAsync();
  }
}

/** How the socket ended: `end`, or the errno of its error. What it still receives is dropped. */
export function fate(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    socket.on('end', () => resolve('end')).resume();
  });
}

/** Up to the end. */
export async function received(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

/** The next so many bytes. */
export async function receive(socket: Socket, bytes: number): Promise<string> {
  for (;;) {
    const chunk: Buffer | null = socket.read(bytes);
    if (chunk !== null) return chunk.toString('latin1');
    await once(socket, 'readable');
  }
}

/** How many of this process's descriptors are of the kind, `socket` or `pipe`. */
export function openDescriptors(kind: 'socket' | 'pipe'): number {
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith(`${kind}:`);
    } catch {
      return false;
    }
  }).length;
}
