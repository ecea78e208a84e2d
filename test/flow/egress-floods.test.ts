/** Clients of HTTP/2 that flood, by frames written by hand (RFC 9113): each loses its connection, and others are served on. */
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Inspected, inspected, tunnel } from './inspect-world.ts';

const REST = 'protocol: rest, access: full';
const TYPES = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
};
const END_STREAM = 1;
const END_HEADERS = 4;
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

function frame(
  type: keyof typeof TYPES,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(TYPES[type], 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A literal of HPACK, not indexed (RFC 7541 §6.2.2), or indexed. */
function literal(name: string, value: string, indexed = false): Buffer {
  const long = (text: string): Buffer => {
    if (text.length < 127) return Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
    const rest = text.length - 127;
    return Buffer.concat([Buffer.from([127, (rest & 127) | 128, rest >> 7]), Buffer.from(text)]);
  };
  return Buffer.concat([Buffer.from([indexed ? 0x40 : 0]), long(name), long(value)]);
}

/** GET https / */
const request = (port: number, ...more: Buffer[]): Buffer =>
  Buffer.concat([Buffer.from([0x82, 0x87, 0x84]), literal(':authority', `api.test:${port}`), ...more]);

let it: Inspected;
beforeAll(async () => {
  it = await inspected(REST, { server: '2', limits: { keepAliveMs: 1500, headMs: 1000, lingerMs: 500 } });
});
afterAll(() => it[Symbol.asyncDispose]());

/** Everything received until the end; the flood is written as long as the other side takes it. */
async function flood(frames: (index: number) => Buffer, rounds: number): Promise<Buffer> {
  const socket: TLSSocket = await tunnel(it.world, it.port, 'h2');
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('end', () => socket.end());
  socket.write(Buffer.concat([Buffer.from(PREFACE), frame('settings', 0, 0)]));
  for (let index = 0; index < rounds && !socket.destroyed && socket.writable; index += 1)
    if (!socket.write(frames(index)))
      await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed]);
  await closed;
  return Buffer.concat(received);
}

/** Codes of the GOAWAY frames in what was received. */
function goaways(received: Buffer): number[] {
  const codes: number[] = [];
  for (let at = 0; at + 9 <= received.length; at += 9 + received.readUIntBE(at, 3))
    if (received.readUInt8(at + 3) === TYPES.goaway) codes.push(received.readUInt32BE(at + 13));
  return codes;
}

const isServed = async () => (await it.fetch(`${it.base}/after`)).stdout.toString();

describe('HTTP/2', () => {
  test('rapid reset', async () => {
    const before = it.heard.requests.length;
    const received = await flood((index) => {
      const stream = index * 2 + 1;
      const headers = frame('headers', END_HEADERS | END_STREAM, stream, request(it.port));
      return Buffer.concat([headers, frame('reset', 0, stream, Buffer.from([0, 0, 0, 8]))]);
    }, 50_000);
    expect(goaways(received).length).toBeGreaterThan(0);
    expect(it.world.facts.length).toBeLessThan(10_000);
    expect(it.heard.requests.length - before).toBeLessThan(2000);
    expect(await isServed()).toContain('/after');
  });

  test('a head without end', async () => {
    const received = await flood((index) => {
      const field = literal('x', 'y'.repeat(1000));
      return index === 0
        ? frame('headers', END_STREAM, 1, request(it.port))
        : frame('continuation', 0, 1, field);
    }, 10_000);
    expect(goaways(received).length).toBeGreaterThan(0);
    expect(await isServed()).toContain('/after');
  });

  test('a head that grows when it is decoded', async () => {
    const before = it.heard.requests.length;
    const bomb = Buffer.concat([
      request(it.port),
      literal('x', 'y'.repeat(3900), true),
      Buffer.alloc(8000, 0xbe),
    ]);
    const received = await flood(
      (index) => frame('headers', END_HEADERS | END_STREAM, index * 2 + 1, bomb),
      300,
    );
    expect(received.length).toBeGreaterThan(0);
    expect(it.heard.requests.length).toBe(before);
    expect(await isServed()).toContain('/after');
  });

  test('settings', async () => {
    const received = await flood(() => frame('settings', 0, 0), 100_000);
    expect(received.length).toBeLessThan(10_000_000);
    expect(await isServed()).toContain('/after');
  });

  test('pings', async () => {
    await flood(() => frame('ping', 0, 0, Buffer.alloc(8)), 20_000);
    expect(await isServed()).toContain('/after');
  });

  test.each(['settings', 'ping'] as const)('%s, whose acknowledgements nobody reads', async (type) => {
    const payload = type === 'ping' ? Buffer.alloc(8) : Buffer.alloc(0);
    const closed = () => it.world.facts.filter(({ kind }) => kind === 'connection-closed').length;
    const before = closed();
    const socket = await tunnel(it.world, it.port, 'h2');
    socket.pause();
    socket.write(Buffer.concat([Buffer.from(PREFACE), frame('settings', 0, 0)]));
    const frames = Buffer.concat(Array(5000).fill(frame(type, 0, 0, payload)));
    for (let left = 40; left > 0 && socket.writable; left -= 1) socket.write(frames);
    await expect.poll(closed, { timeout: 10_000 }).toBe(before + 1);
    socket.destroy();
    expect(await isServed()).toContain('/after');
  });

  test('data of no length', async () => {
    await flood(
      (index) => (index === 0 ? frame('headers', END_HEADERS, 1, request(it.port)) : frame('data', 0, 1)),
      20_000,
    );
    expect(await isServed()).toContain('/after');
  });

  test('a client that says nothing is left', async () => {
    const socket = await tunnel(it.world, it.port, 'h2');
    await new Promise((resolve) => socket.once('close', resolve).resume());
  });
});
