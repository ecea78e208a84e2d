import { expect, test } from 'vitest';
import { statFields } from '../../../src/kernel/processes.ts';

const REST = '1000 1000 34816 1000 4194304 1 0 0 0 3 4 0 0 20 0 1 0 987654 1 2 18446744073709551615 0 0';

test.each([
  ['a plain name', `42 (sh) S 7 ${REST}\n`, { state: 'S', parent: '7', startTime: '987654' }],
  ['spaces', `42 (my program) R 7 ${REST}`, { state: 'R', parent: '7', startTime: '987654' }],
  ['parentheses', `42 (a) b (c)) S 7 ${REST}`, { state: 'S', parent: '7', startTime: '987654' }],
  [
    'a name that imitates fields',
    `42 (x) R 1 2 3) S 7 ${REST}`,
    { state: 'S', parent: '7', startTime: '987654' },
  ],
  ['a line feed in the name', `42 (x\n) S 7 ${REST}`, { state: 'S', parent: '7', startTime: '987654' }],
  ['an empty name', `42 () S 0 ${REST}`, { state: 'S', parent: '0', startTime: '987654' }],
  ['nothing', '', { state: '', parent: '', startTime: '' }],
  ['too few fields', '42 (sh) S 7 1 2 3', { state: 'S', parent: '7', startTime: '' }],
])('stat with %s', (_, text, expected) => {
  expect(statFields(text)).toEqual(expected);
});
