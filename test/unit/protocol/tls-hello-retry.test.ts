import { describe, expect, it } from 'vitest';
import { asksForRetry, endOfFirstMessage, walkToHandshake } from '../../../src/protocol/tls-hello-retry.ts';
import { seededRandom } from '../random.ts';

const record = (type: number, ...content: number[]) =>
  Buffer.from([type, 3, 3, content.length >> 8, content.length & 255, ...content]);
const RETRY = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex');
const serverHello = (random: Buffer, type = 2) => record(22, type, 0, 0, 40, 3, 3, ...random, 0);

describe('walkToHandshake', () => {
  const hello = record(22, 1, 0, 0, 1, 9);
  const before = [
    record(20, 1),
    record(23, ...Array(300).fill(22)),
    record(21, 1, 90),
    record(23),
    record(24, 22),
  ];

  it('gives a handshake record from its first byte on, however the bytes are cut', () => {
    const all = Buffer.concat([...before, hello]);
    const random = seededRandom(7);
    for (let round = 0; round < 300; round += 1) {
      const walk = walkToHandshake();
      let found: Buffer | undefined;
      for (let at = 0; at < all.length; ) {
        const end = at + 1 + random.below(40);
        found = walk.take(all.subarray(at, end)) ?? found;
        at = end;
      }
      expect(found).toEqual(hello);
    }
  });

  it('gives nothing while there is none', () => {
    const walk = walkToHandshake();
    for (const piece of before) expect(walk.take(piece)).toBeUndefined();
    expect(walk.take(Buffer.from([23, 3, 3, 0]))).toBeUndefined();
  });

  it('gives one that has only begun', () => {
    const walk = walkToHandshake();
    expect(walk.take(hello.subarray(0, 1))).toEqual(hello.subarray(0, 1));
    expect(walk.take(hello.subarray(1))).toEqual(hello);
  });
});

describe('asksForRetry', () => {
  it.each([
    ['a retry', serverHello(RETRY), true],
    ['a hello', serverHello(Buffer.alloc(32, 1)), false],
    ['another message with that random', serverHello(RETRY, 4), false],
    ['an alert', record(21, 2, 40), false],
    ['something else', Buffer.from('220 ready'), false],
    ['nothing yet', Buffer.alloc(0), undefined],
    ['a part', serverHello(RETRY).subarray(0, 42), undefined],
  ])('%s', (_, bytes, expected) => expect(asksForRetry(bytes)).toBe(expected));
});

describe('endOfFirstMessage', () => {
  it.each([
    ['one record', [record(22, 1, 0, 0, 2, 8, 9)]],
    ['a record a byte', [1, 0, 0, 2, 8, 9].map((byte) => record(22, byte))],
  ])('in %s', (_, records) => {
    const bytes = Buffer.concat(records);
    expect(endOfFirstMessage(bytes)).toBe(bytes.length);
    expect(endOfFirstMessage(Buffer.concat([bytes, record(20, 1)]))).toBe(bytes.length);
  });
});
