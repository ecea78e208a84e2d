import { describe, expect, it } from 'vitest';
import { parseHostName } from '../../../src/protocol/host-name.ts';

describe('parseHostName', () => {
  it.each([
    ['Example.ORG', 'example.org'],
    ['localhost', 'localhost'],
    ['_srv._tcp.example', '_srv._tcp.example'],
    ['r1---sn-x.example', 'r1---sn-x.example'],
    ['1.2.3.4.example', '1.2.3.4.example'],
    ['a1', 'a1'],
    [`${'a'.repeat(63)}.b`, `${'a'.repeat(63)}.b`],
  ])('%s is %s', (text, name) => {
    expect(parseHostName(text)).toBe(name);
  });

  it.each([
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    'a b',
    'a\0b',
    'a/b',
    'a:443',
    'a@b',
    'bücher.example',
    '\u212aernel.org', // Kelvin sign: its lower case is a plain k
    'ſ.example',
    '127.1',
    '1.2.3.4',
    '0x7f000001',
    'a.0x',
    'a.0XFF',
    '2130706433',
    '::1',
    'a'.repeat(64),
    `${'a.'.repeat(126)}aa`,
  ])('refuses %j', (text) => {
    expect(parseHostName(text)).toBeUndefined();
  });
});
