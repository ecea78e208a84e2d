import { describe, expect, it } from 'vitest';
import { LIMITS, readLimits } from '../../../src/config/limits.ts';

describe('readLimits', () => {
  it.each([
    [['memory=2G'], { together: { memoryBytes: 2 * 1024 ** 3 }, each: [] }],
    [['pids=512', 'cpu=1.5'], { together: { pids: 512, cpus: 1.5 }, each: [] }],
    [
      ['nofile=99', 'fsize=4K'],
      {
        together: {},
        each: [
          { resource: 7, value: 99 },
          { resource: 1, value: 4096 },
        ],
      },
    ],
    [['cpu=0.01'], { together: { cpus: 0.01 }, each: [] }],
    [[], { together: {}, each: [] }],
  ])('%j', (assignments, expected) => expect(readLimits(assignments)).toEqual(expected));

  it.each([
    ['memory'],
    ['memory='],
    ['memory=0'],
    ['memory=-1'],
    ['memory=1.5G'],
    ['memory=2g'],
    ['memory=9999999999999999T'],
    ['cpu=0'],
    ['cpu=0.001'],
    ['cpu=1e3'],
    ['pids=01'],
    ['nofile=1K'],
    ['toString=1'],
    ['__proto__=1'],
  ])('refuses %s', (assignment) => {
    expect(() => readLimits([assignment])).toThrow(expect.objectContaining({ code: 'usage' }));
  });

  it('names the nearest, and refuses a name twice', () => {
    expect(() => readLimits(['memmory=1G'])).toThrow(/did you mean "memory"/);
    expect(() => readLimits(['pids=1', 'pids=2'])).toThrow(/twice/);
  });

  it('has each limit either for all together or for each process', () => {
    for (const [name, { together, resource }] of Object.entries(LIMITS))
      expect((together === undefined) !== (resource === undefined), name).toBe(true);
  });
});
