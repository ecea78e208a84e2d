import { describe, expect, it } from 'vitest';
import { parseStrictJson } from '../../../../src/egress/inspect/strict-json.ts';
import { seededRandom } from '../../random.ts';

const parse = (text: string) => parseStrictJson(Buffer.from(text));

describe('takes', () => {
  it.each([
    'null', 'true', '0', '-0.5e+10', '""', '"\\u00e9\\n\\"\\\\"', '[]', '{}', ' [ 1 , 2 ] ', '{"a":1,"b":[{"c":{}}]}', '{"a":{"a":{"a":1}}}',
    '[{"a":1},{"a":2}]', '{"":0}', '"\u2028"', '{"__proto__":1,"constructor":2}', '[[[[]]]]', '\t\r\n{}\n', '{"a":"}","b":"]\\""}',
    `${'['.repeat(100)}${']'.repeat(100)}`,
  ])('%s', (text) => {
    const parsed = parse(text);
    expect(parsed.ok && JSON.stringify(parsed.value)).toBe(JSON.stringify(JSON.parse(text)));
  });
}); // biome-ignore format: a list

describe('refuses', () => {
  it.each<[string, string]>([
    ['', 'not JSON'], ['{', 'not JSON'], ['[1,]', 'not JSON'], ["{'a':1}", 'not JSON'], ['{a:1}', 'not JSON'], ['01', 'not JSON'],
    ['+1', 'not JSON'], ['NaN', 'not JSON'], ['"\n"', 'not JSON'], ['"\\x41"', 'not JSON'], ['1 2', 'not JSON'], ['/**/1', 'not JSON'],
    ['\ufeff{}', 'not JSON'], ['\u00a0{}', 'not JSON'], ['{"a":1,"a":1}', 'same key'], ['{"a":1,"\\u0061":2}', 'same key'],
    ['{"x":{"a":1,"b":2,"a":3}}', 'same key'], ['[{"a":1,"a":2}]', 'same key'], ['{"__proto__":1,"__proto__":2}', 'same key'],
    ['{"":1,"":2}', 'same key'], ['1e999', 'too large'], ['[-1E400]', 'too large'], [`${'['.repeat(200)}${']'.repeat(200)}`, 'nested'], [`${'{"a":'.repeat(200)}1${'}'.repeat(200)}`, 'nested'],
  ])('%j', (text, detail) => {
    expect(parse(text)).toEqual({ ok: false, detail: expect.stringContaining(detail) });
  });

  it.each([[[0xff]], [[0x22, 0xc0, 0x80, 0x22]], [[0x22, 0xed, 0xa0, 0x80, 0x22]], [[0xfe, 0xff, 0, 0x31]]])('bytes %j', (bytes) => {
    expect(parseStrictJson(Uint8Array.from(bytes))).toEqual({ ok: false, detail: expect.stringContaining('UTF-8') });
  });
}); // biome-ignore format: a list

it('reads what JSON.parse reads', () => {
  const random = seededRandom(11);
  const value = (depth: number): unknown => {
    const kind = random.below(10);
    if (depth > 4 || kind < 4)
      return random.pick<unknown>([
        null,
        true,
        false,
        0,
        -1.5,
        1e21,
        '',
        'a"b',
        '\\',
        '\u0000é\u{1f600}',
        '}]{[,:',
      ]);
    if (kind < 7) return Array.from({ length: random.below(4) }, () => value(depth + 1));
    return Object.fromEntries(
      Array.from({ length: random.below(4) }, () => [
        random.pick(['a', 'b', '"', '\\u', '']),
        value(depth + 1),
      ]),
    );
  };
  for (let round = 0; round < 2000; round++) {
    const text = JSON.stringify(value(0), undefined, random.pick([0, 1, '\t']));
    const parsed = parse(text);
    expect(parsed.ok && JSON.stringify(parsed.value)).toBe(JSON.stringify(JSON.parse(text)));
  }
});
