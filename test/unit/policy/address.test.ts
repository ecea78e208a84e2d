import { isIP } from 'node:net';
import { describe, expect, it } from 'vitest';
import {
  canonicalAddress,
  contains,
  covers,
  formatBlock,
  parseAddress,
  parseBlock,
} from '../../../src/policy/match/address.ts';
import { seededRandom } from '../random.ts';

describe('canonicalAddress', () => {
  it.each([
    ['1.2.3.4', '1.2.3.4'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
    ['::FFFF:0102:0304', '1.2.3.4'],
    ['0:0:0:0:0:ffff:1.2.3.4', '1.2.3.4'],
    ['::1.2.3.4', '::102:304'],
  ])('%s is %s', (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical);
  });

  it.each([
    '',
    '1',
    '1.2.3',
    '01.2.3.4',
    '0x1.2.3.4',
    '1.2.3.4.5',
    '1.2.3.4/32',
    '[::1]',
    '::1%lo',
    '1::2::3',
    ':::',
    'g::',
    '１.2.3.4',
    '1.2.3.4\n',
    '::ffff:1.2.3',
  ])('refuses %j', (text) => {
    expect(canonicalAddress(text)).toBeUndefined();
  });

  it('agrees with the URL parser on random IPv6 addresses', () => {
    const random = seededRandom(1);
    for (let round = 0; round < 500; round++) {
      const groups = Array.from({ length: 8 }, () =>
        (random.below(3) === 0 ? random.below(65_536) : 0).toString(16),
      );
      const text = groups.join(':');
      if (text.startsWith('0:0:0:0:0:ffff:')) continue;
      expect(`[${canonicalAddress(text)}]`).toBe(new URL(`http://[${text}]/`).hostname);
    }
  });
});

describe('what is an address', () => {
  const seeds = [
    '1.2.3.4',
    '255.0.99.100',
    '::',
    '::1',
    '1::',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7::',
    '::2:3:4:5:6:7:8',
  ]
    .concat([
      '2001:db8::ff00:42:8329',
      '::ffff:1.2.3.4',
      '1:2:3:4:5:6:1.2.3.4',
      '1::5:6:1.2.3.4',
      'ABCD::ef01',
    ])
    .concat(['1:2:3:4:5:6:7', '1::2::3', '1:2:3:4:5:6:7:8:9', '::1.2.3', '1.2.3.4::', '']);
  const pieces = [
    '0',
    '1',
    '9',
    'a',
    'F',
    'g',
    ':',
    '::',
    '.',
    '256',
    '00',
    'ffff',
    '10000',
    '1.2.3.4',
    '/',
    ' ',
    '\n',
    'x',
  ];

  it('is what Node takes for one, whatever is changed in it', () => {
    const random = seededRandom(2);
    const change = (text: string): string => {
      const [at, length] = [random.below(text.length + 1), random.below(3)];
      const piece = random.below(3) === 0 ? '' : (pieces[random.below(pieces.length)] ?? '');
      return text.slice(0, at) + piece + text.slice(at + length);
    };
    const found = { 0: 0, 4: 0, 6: 0 };
    for (let round = 0; round < 60_000; round++) {
      let text = seeds[round % seeds.length] ?? '';
      for (let changes = random.below(4); changes > 0; changes--) text = change(text);
      const family = isIP(text) as 0 | 4 | 6;
      found[family] += 1;
      expect(parseAddress(text) !== undefined, JSON.stringify(text)).toBe(family !== 0);
      const canonical = canonicalAddress(text);
      if (family === 6 && canonical?.includes(':'))
        expect(`[${canonical}]`).toBe(new URL(`http://[${text}]/`).hostname);
    }
    for (const count of Object.values(found)) expect(count).toBeGreaterThan(1000);
  });
});

describe('parseBlock', () => {
  it.each([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['fd00::1', 'fd00::1/128'],
    ['fd12:3456:789a::1/32', 'fd12:3456::/32'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
    ['::ffff:0:0/96', '0.0.0.0/0'],
    ['::ffff:0:0/95', '::fffe:0:0/95'],
  ])('%s is %s', (text, canonical) => {
    const block = parseBlock(text);
    expect(block && formatBlock(block)).toBe(canonical);
  });

  it.each([
    '',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0.0/8/8',
    '10/8',
    '::/129',
    '10.0.0.0/255.0.0.0',
    '10.0.0.0/8 ',
  ])('refuses %j', (text) => {
    expect(parseBlock(text)).toBeUndefined();
  });
});

describe('contains and covers', () => {
  it.each([
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['172.16.0.0/12', '172.31.255.255', true],
    ['172.16.0.0/12', '172.32.0.0', false],
    ['0.0.0.0/0', '1.2.3.4', true],
    ['::/0', '1.2.3.4', false],
    ['fd00::/8', 'fd12::1', true],
    ['10.0.0.0/8', '::ffff:10.0.0.1', true],
  ])('%s holds %s: %s', (block, address, expected) => {
    expect(contains(required(parseBlock(block)), required(parseAddress(address)))).toBe(expected);
  });

  it('compares blocks', () => {
    const [wide, narrow] = [required(parseBlock('10.0.0.0/8')), required(parseBlock('10.1.0.0/16'))];
    expect([covers(wide, narrow), covers(narrow, wide), covers(wide, wide)]).toEqual([true, false, true]);
  });
});

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('does not parse');
  return value;
}
