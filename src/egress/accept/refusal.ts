/** How a client hears that it goes no further: in its own protocol, and so that it can read it before the connection closes. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { posix } from '../../kernel/posix.ts';
import { descriptorOf } from '../../kernel/socket-handle.ts';

/** A fatal access_denied alert (RFC 8446 §6, TLS 1.0 framing): the client's error then says that it was refused. */
const ACCESS_DENIED_ALERT = Buffer.from([0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x31]);

/** Sends `last`, then waits a while for the client to close: closing over unread bytes would reset the connection. */
export function linger(socket: Socket, lingerMs: number, last?: string | Uint8Array): void {
  if (socket.destroyed) return;
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  socket.once('close', () => clearTimeout(timer));
  if (last !== undefined && socket.writable) socket.write(last);
  socket.end();
  socket.resume();
}

/** Ends at once, and so that the other side takes it for no orderly end: by a reset, which TLS has not. */
export function breakOff(socket: Socket): void {
  if (socket instanceof TLSSocket) return void socket.destroy();
  // Also where it is not Node that moves its bytes.
  if (!socket.destroyed) posix().resetConnection(descriptorOf(socket));
  socket.resetAndDestroy();
}

/** For clients that speak TLS. */
export function refuseTls(socket: Socket, lingerMs: number): void {
  linger(socket, lingerMs, ACCESS_DENIED_ALERT);
}

/** For a socket on which no response has begun and no parser is at work: CONNECT, and requests that do not parse. */
export function refuseSocket(socket: Socket, lingerMs: number, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(text)}`,
    'Connection: close',
  ];
  linger(socket, lingerMs, `${head.join('\r\n')}\r\n\r\n${text}`);
}

/** The whole answer goes out at once; the end waits for the request's body, so that no upload turns it into a reset. */
export function refuseRequest(
  request: IncomingMessage,
  response: ServerResponse,
  lingerMs: number,
  status: number,
  body: object,
): void {
  if (response.destroyed || response.headersSent) return void response.destroy();
  const text = `${JSON.stringify(body)}\n`;
  const headers = {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    Connection: 'close',
  };
  response.writeHead(status, headers);
  if (request.method !== 'HEAD') response.write(text);
  if (request.complete) return void response.end();
  const timer = setTimeout(() => response.end(), lingerMs);
  const end = (): void => {
    clearTimeout(timer);
    response.end();
  };
  request.once('end', end).once('close', end).resume();
}
