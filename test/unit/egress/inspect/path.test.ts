import { describe, expect, it } from 'vitest';
import { readTarget } from '../../../../src/egress/inspect/path.ts';
import { seededRandom } from '../../random.ts';

const strict = { encodedSlash: false };
const lenient = { encodedSlash: true };

describe('what goes on, and how it may be read', () => {
  it.each<[target: string, forward: string, readings: readonly string[]]>([
    ['/', '/', ['/']],
    ['/a', '/a', ['/a']],
    ['/a/', '/a/', ['/a/']],
    ['/a/b.c', '/a/b.c', ['/a/b.c']],
    ['/%61', '/a', ['/a']],
    ['/%7e%2D%2e%5F', '/~-._', ['/~-._']],
    ['/%c3%a9', '/%C3%A9', ['/é']],
    ['/a%20b', '/a%20b', ['/a b']],
    ['/a+b', '/a+b', ['/a+b']],
    ['/a%25b', '/a%25b', ['/a%b']],
    ['/a%3Fb', '/a%3Fb', ['/a?b']],
    ['/a%3bb', '/a%3Bb', ['/a;b']],
    ['/a/./b', '/a/b', ['/a/b']],
    ['/a/%2e/b', '/a/b', ['/a/b']],
    ['/a/../b', '/b', ['/b']],
    ['/a/%2e%2E/b', '/b', ['/b']],
    ['/a/.%2e/b', '/b', ['/b']],
    ['/a/b/..', '/a/', ['/a/']],
    ['/a/b/.', '/a/b/', ['/a/b/']],
    ['/a/...', '/a/...', ['/a/...']],
    ['/a/..b', '/a/..b', ['/a/..b']],
    ['/a/b../c', '/a/b../c', ['/a/b../c']],
    ['/a//b', '/a//b', ['/a//b', '/a/b']],
    ['//a', '//a', ['//a', '/a']],
    ['/a//', '/a//', ['/a//', '/a/']],
    ['/a;v=1/b', '/a;v=1/b', ['/a;v=1/b', '/a/b']],
    ['/a;/b', '/a;/b', ['/a;/b', '/a/b']],
    ['/a;x//b;y', '/a;x//b;y', ['/a;x//b;y', '/a;x/b;y', '/a//b', '/a/b']],
    ['/;/a', '/;/a', ['/;/a', '//a', '/a']],
    ['/a?x', '/a?x', ['/a']],
    ['/a?x=/../b', '/a?x=/../b', ['/a']],
    ['/a?', '/a?', ['/a']],
    ['/a/..?b', '/?b', ['/']],
    ["/a!$&'()*,:@", "/a!$&'()*,:@", ["/a!$&'()*,:@"]],
    ['/a//../b', '/a/b', ['/a/b']],
  ])('%s', (target, forward, readings) => {
    const read = readTarget(target, strict);
    expect(read).toMatchObject({ ok: true, forward, path: { allow: readings } });
  });
});

describe('refuses', () => {
  it.each<[target: string, detail: string]>([
    ['', 'characters'],
    ['*', 'characters'],
    ['a', 'characters'],
    ['http://x/', 'characters'],
    ['/a b', 'characters'],
    ['/a\tb', 'characters'],
    ['/a\0b', 'characters'],
    ['/a#b', 'characters'],
    ['/a\\b', 'characters'],
    ['/a/..\\b', 'characters'],
    ['/é', 'characters'],
    ['/a?é', 'characters'],
    ['/a?b#c', 'characters'],
    ['/..', 'climbs'],
    ['/a/../..', 'climbs'],
    ['/%2e%2e/a', 'climbs'],
    ['/a/../../b', 'climbs'],
    ['/%', 'begins no encoded byte'],
    ['/%4', 'begins no encoded byte'],
    ['/%zz', 'begins no encoded byte'],
    ['/%%34', 'begins no encoded byte'],
    ['/%u0041', 'begins no encoded byte'],
    ['/a?%', 'begins no encoded byte'],
    ['/%00', 'control'],
    ['/a%0d%0ab', 'control'],
    ['/%7f', 'control'],
    ['/a%5cb', 'backslash'],
    ['/a/..%5c..%5cb', 'backslash'],
    ['/a%2fb', 'encoded slash'],
    ['/a/..%2Fb', 'encoded slash'],
    ['/%252f', 'decoded twice'],
    ['/a/%252e%252e/b', 'decoded twice'],
    ['/a/%252E./b', 'decoded twice'],
    ['/a/..%255c', 'decoded twice'],
    ['/a/..;/b', 'parameters behind'],
    ['/a/..;x=1/b', 'parameters behind'],
    ['/a/.;/b', 'parameters behind'],
    ['/a/%2e%2e;x/b', 'parameters behind'],
    ['/%c0%ae%c0%ae/b', 'not UTF-8'],
    ['/%ff', 'not UTF-8'],
    ['/%ed%a0%80', 'not UTF-8'],
    ['/a?%ff', 'not UTF-8'],
    [`/?${'a&'.repeat(1001)}`, 'parameters'],
    [`/${'a'.repeat(4096)}`, 'longer than'],
  ])('%j', (target, detail) => {
    expect(readTarget(target, strict)).toEqual({ ok: false, detail: expect.stringContaining(detail) });
  });
});

it('keeps an encoded slash where the policy takes it, and refuses by both readings', () => {
  expect(readTarget('/p/a%2fb/x', lenient)).toMatchObject({
    forward: '/p/a%2Fb/x',
    hasEncodedSlash: true,
    path: { allow: ['/p/a%2Fb/x'], deny: ['/p/a%2Fb/x', '/p/a/b/x'] },
  });
  expect(readTarget('/p/a%2f%2fb', lenient)).toMatchObject({
    path: { deny: ['/p/a%2F%2Fb', '/p/a//b', '/p/a/b'] },
  });
  // A dot segment between encoded slashes is one for a server that decodes them.
  expect(readTarget('/p/a%2f..%2fb', lenient)).toMatchObject({ ok: false });
});

it('decodes the query as forms are', () => {
  expect(readTarget('/?a=1&b=x+y%2B&a=%3D=&c&=d', strict)).toMatchObject({
    query: [
      ['a', '1'],
      ['b', 'x y+'],
      ['a', '=='],
      ['c', ''],
      ['', 'd'],
    ],
  });
});

it('what goes on is read in the same way again', () => {
  const random = seededRandom(7);
  const parts = [
    'a',
    '/',
    '.',
    '..',
    ';',
    '%2e',
    '%2F',
    '%25',
    '%61',
    '//',
    '?',
    '&',
    '=',
    '+',
    '%c3%a9',
    'b',
  ];
  let read = 0;
  for (let round = 0; round < 5000; round++) {
    const target = `/${Array.from({ length: 8 }, () => random.pick(parts)).join('')}`;
    const first = readTarget(target, lenient);
    if (!first.ok) continue;
    read++;
    expect(readTarget(first.forward, lenient), target).toEqual(first);
    for (const reading of first.path.deny) expect(reading.split('/'), target).not.toContain('..');
  }
  expect(read).toBeGreaterThan(500);
});
