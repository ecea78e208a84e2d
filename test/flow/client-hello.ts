/** ClientHellos as OpenSSL writes them, changed in one place. */
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';

export type Extension = readonly [type: number, data: Buffer];

export const SERVER_NAME = 0;
export const KEY_SHARE = 51;
export const ECH = 0xfe0d;

/** A hello to `name`, whose extensions `change` may exchange. */
export async function clientHello(
  name: string,
  change: (extensions: readonly Extension[]) => readonly Extension[] = (same) => same,
): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const wire = new Duplex({ read() {}, write: (chunk: Buffer) => resolve(chunk) });
  const socket = connect({ socket: wire, servername: name, ecdhCurve: 'X25519:P-256' });
  socket.on('error', () => {});
  const hello = await promise;
  socket.destroy();
  const at = extensionsOf(hello);
  return write(hello.subarray(9, at), change(readExtensions(hello.subarray(at + 2))));
}

/** Where the length of the extensions stands: behind version, random, session, ciphers and compression. */
function extensionsOf(hello: Buffer): number {
  let at = 9 + 2 + 32;
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  return at + 1 + hello.readUInt8(at);
}

function readExtensions(bytes: Buffer): Extension[] {
  const found: Extension[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt16BE(at + 2);
    found.push([bytes.readUInt16BE(at), bytes.subarray(at + 4, at + 4 + length)]);
    at += 4 + length;
  }
  return found;
}

function write(head: Buffer, extensions: readonly Extension[]): Buffer {
  const all = extensions.map(([type, data]) => Buffer.concat([uint16(type), uint16(data.length), data]));
  const list = Buffer.concat(all);
  const body = Buffer.concat([head, uint16(list.length), list]);
  const message = Buffer.concat([Buffer.from([1, 0]), uint16(body.length), body]);
  return record(22, message);
}

export function record(type: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, 3, 1]), uint16(content.length), content]);
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 255]);
}
