import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openChannel } from '../../../src/roles/channel.ts';
import { MAX_FRAME_BYTES } from '../../../src/roles/message.ts';

let directory: string;
let ours: Socket;
let theirs: Socket;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-channel-'));
  const server = createServer().listen(join(directory, 'wire'));
  ours = connect(join(directory, 'wire'));
  [theirs] = (await once(server, 'connection')) as [Socket];
  theirs.on('error', () => {});
  server.close();
});
afterEach(() => {
  ours.destroy();
  theirs.destroy();
  rmSync(directory, { recursive: true });
});

const open = (socket: Socket, options: { signal?: AbortSignal } = {}) =>
  openChannel<unknown, string>(
    socket,
    (value) => {
      if (typeof value !== 'string') throw new Error('not a text');
      return value;
    },
    options,
  );

function frame(text: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(text));
  return Buffer.concat([length, Buffer.from(text)]);
}

async function received(channel: ReturnType<typeof open>): Promise<string[]> {
  const messages: string[] = [];
  for await (const message of channel.messages()) messages.push(message);
  return messages;
}

test('messages arrive in order, whatever the size, and close() sends what is queued', async () => {
  const texts = [
    '',
    'a',
    'ü'.repeat(100_000),
    ...Array.from({ length: 500 }, (_, index) => `message ${index}`),
  ];
  const sender = open(theirs);
  for (const text of texts) sender.send(text);
  sender.close();
  expect(await received(open(ours))).toEqual(texts);
});

test('frames may be cut anywhere', async () => {
  const bytes = Buffer.concat([frame('"one"'), frame('"two"')]);
  const messages = received(open(ours));
  for (const byte of bytes) await new Promise((resolve) => theirs.write(Buffer.from([byte]), resolve));
  theirs.end();
  expect(await messages).toEqual(['one', 'two']);
});

test.each([
  ['no JSON', frame('{'), 'malformed'],
  ['another shape', frame('1'), 'not a text'],
  ['an empty frame', frame(''), 'malformed'],
  ['a frame that is too large', Buffer.from([0x7f, 0, 0, 0]), 'too large'],
  ['an end inside a frame', frame('"cut"').subarray(0, 6), 'inside a message'],
  ['an end', Buffer.alloc(0), 'closed'],
])('%s ends the channel with role_lost', async (_name, bytes, message) => {
  const channel = open(ours);
  theirs.end(Buffer.concat([frame('"before"'), bytes]));
  expect(await received(channel)).toEqual(['before']);
  expect(await channel.closed).toMatchObject({
    code: 'role_lost',
    message: expect.stringContaining(message),
  });
});

test('a queue that nobody reads is congested, then the end', async () => {
  const channel = open(ours);
  expect(channel.congestion()).toBeUndefined();
  const part = 'x'.repeat(MAX_FRAME_BYTES - 100);
  channel.send(part);
  const room = channel.congestion();
  expect(room).toBeInstanceOf(Promise);
  for (let count = 0; count < 3; count++) channel.send(part);
  expect(await channel.closed).toMatchObject({ message: 'the other role stopped reading' });
  await room;
  expect(channel.congestion()).toBeUndefined();
  channel.send('after the end');
});

test('congestion ends when the other side reads', async () => {
  const channel = open(ours);
  channel.send('x'.repeat(4 * 1024 * 1024));
  const room = channel.congestion();
  theirs.resume();
  await room;
  expect(channel.congestion()).toBeUndefined();
});

test('a message that is too large is never sent', async () => {
  const channel = open(ours);
  channel.send('x'.repeat(MAX_FRAME_BYTES));
  expect(await channel.closed).toMatchObject({ message: 'a message for the wire is too large' });
});

test('the signal ends the channel', async () => {
  const ending = new AbortController();
  const channel = open(ours, { signal: ending.signal });
  const messages = received(channel);
  ending.abort();
  expect(await messages).toEqual([]);
  expect(await channel.closed).toMatchObject({ message: 'the wire was given up' });
});
