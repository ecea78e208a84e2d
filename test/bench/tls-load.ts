/** HTTP/1.1 in TLS for the bench: an origin with one answer, and clients that ask one request after the other. */
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { connect as connectTls, createServer } from 'node:tls';

const RESPONSE = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello';

/** Answers every request head; prints its port. Run as a process of its own. */
export async function serveTls(key: string, cert: string): Promise<void> {
  const server = createServer({ key, cert, ALPNProtocols: ['http/1.1'] }, (socket) => {
    socket
      .on('error', () => {})
      .on('data', (head) => {
        if (head.includes('\r\n\r\n')) socket.write(RESPONSE);
      });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  console.log((server.address() as AddressInfo).port);
}

export interface TlsTarget {
  /** Of the origin itself, or of a proxy that is asked to CONNECT. */
  readonly port: number;
  readonly connect: string | undefined;
  readonly host: string;
  readonly ca: string;
}

/** Seconds for so many requests over so many connections, which are open before the clock starts. */
export async function timeTlsRequests(
  target: TlsTarget,
  count: number,
  connections: number,
): Promise<number> {
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(target)));
  const began = performance.now();
  await Promise.all(sockets.map((socket) => ask(socket, target.host, count / connections)));
  const seconds = (performance.now() - began) / 1000;
  for (const socket of sockets) socket.destroy();
  return seconds;
}

async function open({ port, connect: authority, ca }: TlsTarget): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  if (authority !== undefined) {
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    await once(socket, 'readable');
    socket.read();
  }
  const secure = connectTls({ socket, servername: 'api.test', ca, ALPNProtocols: ['http/1.1'] });
  await once(secure, 'secureConnect');
  return secure;
}

async function ask(socket: Socket, host: string, count: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let left = count;
  let answer = '';
  const request = `GET /v1/x HTTP/1.1\r\nHost: ${host}\r\nAccept: */*\r\n\r\n`;
  socket
    .setEncoding('latin1')
    .on('error', reject)
    .on('close', () => reject(new Error(`closed after ${answer}`)));
  socket.on('data', (text) => {
    answer += text;
    if (!answer.endsWith('hello')) return;
    if (!answer.startsWith('HTTP/1.1 200')) reject(new Error(answer));
    answer = '';
    if (--left > 0) socket.write(request);
    else resolve();
  });
  socket.write(request);
  await promise;
}
