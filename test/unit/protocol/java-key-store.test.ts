/** Java itself reads these stores in test/clients; here, what is in one. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { ByteReader } from '../../../src/protocol/byte-reader.ts';
import { javaKeyStore } from '../../../src/protocol/java-key-store.ts';

const DATE = new Date('2026-01-02T03:04:05.678Z');

/** As sun.security.provider.JavaKeyStore.engineLoad reads it. */
function read(store: Buffer) {
  const reader = new ByteReader(store);
  const text = () => Buffer.from(reader.bytes(reader.number(2))).toString('utf8');
  const header = [reader.number(4), reader.number(4)];
  const entries = Array.from({ length: reader.number(4) }, () => {
    const tag = reader.number(4);
    const alias = text();
    const date = Number(Buffer.from(reader.bytes(8)).readBigInt64BE());
    const type = text();
    return { tag, alias, date, type, der: Buffer.from(reader.bytes(reader.number(4))) };
  });
  const seal = Buffer.from(reader.bytes(20));
  return { header, entries, seal, failed: reader.failed };
}

test.each([0, 1, 3])('a store of %d', (count) => {
  const certificates = Array.from({ length: count }, (_, index) => Buffer.alloc(300 * (index + 1), index));
  const store = javaKeyStore(certificates, DATE);
  const { header, entries, seal, failed } = read(store);
  expect(failed).toBe(false);
  expect(header).toEqual([0xfeedfeed, 2]);
  expect(entries.map(({ der }) => der)).toEqual(certificates);
  expect(new Set(entries.map(({ alias }) => alias)).size).toBe(count);
  for (const { tag, type, date } of entries)
    expect({ tag, type, date }).toEqual({ tag: 2, type: 'X.509', date: DATE.getTime() });
  const password = Buffer.from([...'changeit'].flatMap((letter) => [0, letter.charCodeAt(0)]));
  const sealed = Buffer.concat([password, Buffer.from('Mighty Aphrodite'), store.subarray(0, -20)]);
  expect(seal).toEqual(createHash('sha1').update(sealed).digest());
});
