import { applyPatch } from 'rfc6902';
import { describe, expect, it } from 'vitest';
import { type JsonValue, patchBetween } from '../../../../src/kubernetes/webhook/json-patch.ts';
import { seededRandom } from '../../random.ts';

/** What another implementation makes of it. */
function applied(before: JsonValue, after: JsonValue): unknown {
  const holder = { it: structuredClone(before) };
  const operations = patchBetween(before, after).map((operation) => ({
    ...structuredClone(operation),
    path: `/it${operation.path}`,
  }));
  for (const error of applyPatch(holder, operations as Parameters<typeof applyPatch>[1]))
    if (error !== null) throw error;
  return holder.it;
}

const named = (name: string, value = 1) => ({ name, value });

describe('a patch', () => {
  const rows: readonly { name: string; before: JsonValue; after: JsonValue; want: unknown }[] = [
    {
      name: 'is empty for equal values',
      before: { a: [1, { b: null }] },
      after: { a: [1, { b: null }] },
      want: [],
    },
    {
      name: 'adds a key, whatever is in it, as a whole',
      before: {},
      after: { a: { b: 1 } },
      want: [{ op: 'add', path: '/a', value: { b: 1 } }],
    },
    {
      name: 'escapes keys (RFC 6901 §3)',
      before: { 'castellan.dev/x~y': '1' },
      after: { 'castellan.dev/x~y': '2' },
      want: [{ op: 'replace', path: '/castellan.dev~1x~0y', value: '2' }],
    },
    {
      name: 'leaves alone what an insertion moves over',
      before: [named('a'), named('b')],
      after: [named('new'), named('a'), named('b')],
      want: [{ op: 'add', path: '/0', value: named('new') }],
    },
    {
      name: 'appends by the index after the last',
      before: [1],
      after: [1, 2],
      want: [{ op: 'add', path: '/1', value: 2 }],
    },
    {
      name: 'changes an element behind an insertion in place',
      before: [named('a'), named('b')],
      after: [named('new'), named('a', 2), named('b', 2)],
      want: [
        { op: 'add', path: '/0', value: named('new') },
        { op: 'replace', path: '/1/value', value: 2 },
        { op: 'replace', path: '/2/value', value: 2 },
      ],
    },
    {
      name: 'tells mounts apart by where they are',
      before: [{ name: 'v', mountPath: '/a' }],
      after: [
        { name: 'v', mountPath: '/b' },
        { name: 'v', mountPath: '/a' },
      ],
      want: [{ op: 'add', path: '/0', value: { name: 'v', mountPath: '/b' } }],
    },
    {
      name: 'removes from a list',
      before: ['a', 'b', 'c'],
      after: ['a', 'c'],
      want: [{ op: 'remove', path: '/1' }],
    },
    {
      name: 'replaces what is of another kind',
      before: { a: [], b: {}, c: null },
      after: { a: {}, b: null, c: [] },
      want: [
        { op: 'replace', path: '/a', value: {} },
        { op: 'replace', path: '/b', value: null },
        { op: 'replace', path: '/c', value: [] },
      ],
    },
    {
      name: 'sees no key that only a prototype has',
      before: {},
      after: { constructor: 1, toString: 2 },
      want: [
        { op: 'add', path: '/constructor', value: 1 },
        { op: 'add', path: '/toString', value: 2 },
      ],
    },
  ];
  it.each(rows)('$name', ({ before, after, want }) => {
    expect(patchBetween(before, after)).toEqual(want);
    if (!JSON.stringify(want).includes('constructor')) expect(applied(before, after)).toEqual(after);
  });

  it('makes the one of the other, whatever they are (rfc6902 applies it)', () => {
    const { below: pick } = seededRandom(20_261);
    const value = (depth: number): JsonValue => {
      const kind = pick(depth > 3 ? 4 : 7);
      if (kind === 0) return null;
      if (kind === 1) return pick(3);
      if (kind === 2) return 'abc'.slice(0, pick(4));
      if (kind === 3) return pick(2) === 0;
      if (kind < 6) return Array.from({ length: pick(6) }, () => value(depth + 1));
      return Object.fromEntries(
        Array.from({ length: pick(4) }, () => [
          ['name', 'a', 'b/c', 'd~e', 'mountPath'][pick(5)],
          value(depth + 1),
        ]),
      );
    };
    for (let round = 0; round < 3000; round++) {
      const [before, after] = [value(0), value(0)];
      expect(applied(before, after), JSON.stringify([before, after])).toEqual(after);
    }
  });

  it('is found in a moment for lists of ten thousand', () => {
    const list = (prefix: string) => Array.from({ length: 10_000 }, (_, index) => named(`${prefix}${index}`));
    const started = performance.now();
    expect(patchBetween(list('a'), [named('new'), ...list('a')])).toHaveLength(1);
    patchBetween(list('a'), list('b'));
    patchBetween(list('a'), list('a').reverse());
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
