import { describe, expect, it } from 'vitest';
import { parseId } from '../../../src/lib/id.ts';

describe('parseId', () => {
  it.each([
    ['0', 0],
    ['1', 1],
    ['4294967294', 4_294_967_294],
    ['4294967295', undefined],
    ['-1', undefined],
    ['01', undefined],
    ['1e3', undefined],
    ['', undefined],
    [' 1', undefined],
    ['0x10', undefined],
  ])('%s', (text, expected) => {
    expect(parseId(text)).toBe(expected);
  });
});
