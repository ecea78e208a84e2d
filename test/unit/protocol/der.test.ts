import { describe, expect, it } from 'vitest';
import {
  bitString,
  boolean,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  time,
  utf8String,
} from '../../../src/protocol/der.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** By hand, from X.690. */
describe('DER', () => {
  it.each([
    ['zero', integer(Uint8Array.of(0)), '020100'],
    ['nothing is zero', integer(Uint8Array.of()), '020100'],
    ['a small number', integer(Uint8Array.of(127)), '02017f'],
    ['a number whose top bit is set', integer(Uint8Array.of(128)), '02020080'],
    ['a number with needless zeros', integer(Uint8Array.of(0, 0, 1, 2)), '02020102'],
    ['true', boolean(true), '0101ff'],
    ['an identifier', objectIdentifier('1.2.840.10045.4.3.2'), '06082a8648ce3d040302'],
    ['an identifier below 2', objectIdentifier('2.5.29.17'), '0603551d11'],
    ['bits', bitString(Uint8Array.of(0x06), 1), '03020106'],
    ['text', utf8String('é'), '0c02c3a9'],
    ['a nest', sequence(sequence(), boolean(false)), '30053000010100'],
    [
      'the last second of UTCTime',
      time(new Date('2049-12-31T23:59:59.9Z')),
      '170d3439313233313233353935395a',
    ],
    [
      'the first of GeneralizedTime',
      time(new Date('2050-01-01T00:00:00Z')),
      '180f32303530303130313030303030305a',
    ],
  ])('%s', (_, bytes, expected) => {
    expect(hex(bytes)).toBe(expected);
  });

  it.each([
    [127, '047f'],
    [128, '048180'],
    [255, '0481ff'],
    [256, '04820100'],
    [65_536, '0483010000'],
  ])('a length of %i', (length, head) => {
    expect(hex(octetString(new Uint8Array(length)).subarray(0, head.length / 2))).toBe(head);
  });
});
