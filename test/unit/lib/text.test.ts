import { describe, expect, it } from 'vitest';
import { escapeText } from '../../../src/lib/escape.ts';
import { nearest } from '../../../src/lib/nearest.ts';

describe('escapeText', () => {
  it.each([
    ['plain ünïcode 日本', 'plain ünïcode 日本'],
    ['a\nb', 'a\\u{a}b'],
    ['\u001b[31m', '\\u{1b}[31m'],
    ['\u202eabc', '\\u{202e}abc'],
    ['\u2028', '\\u{2028}'],
    ['\ud800', '\\u{d800}'],
    ['\u0085', '\\u{85}'],
  ])('%j', (text, expected) => expect(escapeText(text)).toBe(expected));

  it('cuts long text', () => {
    expect(escapeText('x'.repeat(100), 10)).toBe(`${'x'.repeat(10)}…`);
  });
});

describe('nearest', () => {
  const words = ['read_only', 'read_write', 'include_workdir', 'host', 'ports'];
  it.each([
    ['read_olny', 'read_only'],
    ['readwrite', 'read_write'],
    ['prots', 'ports'],
    ['hsot', 'host'],
    ['completely', undefined],
    ['', undefined],
  ])('%s → %s', (word, expected) => expect(nearest(word, words)).toBe(expected));
});
