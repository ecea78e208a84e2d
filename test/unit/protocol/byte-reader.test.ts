import { describe, expect, it } from 'vitest';
import { ByteReader } from '../../../src/protocol/byte-reader.ts';

describe('ByteReader', () => {
  it('reads numbers, bytes and vectors up to the end', () => {
    const reader = new ByteReader(Uint8Array.of(1, 2, 3, 0xff, 0xff, 0xff, 0xff, 9, 0, 2, 7, 8));
    expect([reader.number(1), reader.number(2), reader.number(4)]).toEqual([1, 0x0203, 0xffff_ffff]);
    expect([...reader.bytes(1)]).toEqual([9]);
    expect(reader.finished).toBe(false);
    expect([...reader.vector(2)]).toEqual([7, 8]);
    expect([reader.finished, reader.failed, reader.position]).toEqual([true, false, 12]);
  });

  it('has failed for good after a read past the end', () => {
    const reader = new ByteReader(Uint8Array.of(5, 1, 2));
    expect([...reader.vector(1)]).toEqual([]);
    expect([reader.number(1), [...reader.bytes(1)], [...reader.bytes(0)]]).toEqual([0, [], []]);
    expect([reader.failed, reader.finished, reader.position]).toEqual([true, false, 1]);
  });
});
