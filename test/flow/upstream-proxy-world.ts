import { connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTls } from 'node:tls';
import type { EgressOptions } from '../../src/egress/egress.ts';
import { type Certificate, listen } from './egress-world.ts';

export interface FakeProxy extends AsyncDisposable {
  readonly port: number;
  /** The heads it was sent. */
  readonly heads: string[];
}

/** Speaks for itself once a head is here. */
export type Answer = (socket: Socket, authority: string) => void;

/** Connects to the loopback port of the authority, whatever its host: as a proxy that looks names up. */
export const honest: Answer = (socket, authority) => {
  const origin = connect({
    port: Number(authority.split(':').at(-1)),
    host: '127.0.0.1',
    allowHalfOpen: true,
  });
  origin.on('error', () => socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbody'));
  origin.once('connect', () => {
    socket.write('HTTP/1.1 200 Connection established\r\nVia: fake\r\n\r\n');
    socket.pipe(origin).pipe(socket);
  });
};

export async function fakeProxy(answer: Answer, tls?: Certificate): Promise<FakeProxy> {
  const heads: string[] = [];
  const onConnection = (socket: Socket): void => {
    let head = '';
    socket.on('error', () => {});
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      socket.off('data', onData);
      heads.push(head);
      answer(socket, /^CONNECT (\S+)/.exec(head)?.[1] ?? '');
    };
    socket.on('data', onData);
  };
  const server: Server =
    tls === undefined
      ? createServer({ allowHalfOpen: true }, onConnection)
      : createTls({ key: tls.key, cert: tls.cert, allowHalfOpen: true }, onConnection);
  const listening = await listen(server);
  return { ...listening, heads };
}

export function upstreamProxy(
  port: number,
  more: Partial<NonNullable<EgressOptions['upstreamProxy']>> = {},
): Pick<EgressOptions, 'upstreamProxy'> {
  const proxy = { scheme: 'http', host: '127.0.0.1', port, exceptions: [], byHostName: false } as const;
  return { upstreamProxy: { ...proxy, credentials: undefined, ...more } };
}
