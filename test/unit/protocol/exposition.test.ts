import { expect, test } from 'vitest';
import { exposition } from '../../../src/protocol/exposition.ts';

test('families as Prometheus reads them', () => {
  expect(
    exposition([
      {
        name: 'a_total',
        type: 'counter',
        help: 'Of \\ and\nlines.',
        samples: [{ labels: { x: 'a"b\\c\nd', y: '' }, value: 1e21 }, { value: 0.5 }],
      },
      { name: 'empty', type: 'gauge', help: 'Nobody knows.', samples: [] },
      {
        name: 'b',
        type: 'gauge',
        help: 'Odd.',
        samples: [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].map((value) => ({ value })),
      },
    ]),
  ).toBe(
    [
      '# HELP a_total Of \\\\ and\\nlines.',
      '# TYPE a_total counter',
      'a_total{x="a\\"b\\\\c\\nd",y=""} 1e+21',
      'a_total 0.5',
      '# HELP b Odd.',
      '# TYPE b gauge',
      'b NaN',
      'b +Inf',
      'b -Inf',
      '',
    ].join('\n'),
  );
});

test('no other names', () => {
  const samples = [{ value: 1 }];
  const family = { name: 'a', type: 'gauge', help: '', samples } as const;
  expect(() => exposition([{ ...family, name: 'a b' }])).toThrow(RangeError);
  expect(() => exposition([{ ...family, samples: [{ labels: { 'x-y': '' }, value: 1 }] }])).toThrow(
    RangeError,
  );
});
