import { describe, expect, it } from 'vitest';
import {
  BASELINE_DEVICES,
  BASELINE_READ,
  covers,
  type OwnPlace,
  planPaths,
} from '../../../src/start/path-plan.ts';

const OWN: OwnPlace[] = [
  { path: '/run/castellan', hidden: true, readable: false },
  { path: '/opt/castellan', hidden: false, readable: true },
];
const policy = (readOnly: string[], readWrite: string[], includeWorkdir = false) => ({
  includeWorkdir,
  readOnly,
  readWrite,
});

describe('covers', () => {
  it.each([
    ['/', '/a', true],
    ['/a', '/a', true],
    ['/a', '/a/b', true],
    ['/a', '/ab', false],
    ['/a/b', '/a', false],
  ])('%s covers %s: %s', (outer, path, expected) => expect(covers(outer, path)).toBe(expected));
});

describe('planPaths', () => {
  it('grants the baseline for reading and what the policy says', () => {
    const plan = planPaths(policy(['/srv/data'], ['/tmp']), '/work', OWN);
    expect(plan.readOnly).toEqual([...BASELINE_READ, '/srv/data']);
    expect(plan.readWrite).toEqual(['/tmp']);
  });

  it('grants no parent of a socket that an operator chose, though it is covered', () => {
    const own: OwnPlace[] = [{ path: '/srv/s/metrics.sock', hidden: true, readable: false, isSocket: true }];
    for (const [readOnly, readWrite] of [
      [[], ['/srv/s']],
      [['/srv'], []],
      [[], ['/srv/s/metrics.sock']],
    ] as const)
      expect(() => planPaths(policy([...readOnly], [...readWrite]), '/work', own)).toThrow(
        '/srv/s/metrics.sock',
      );
    expect(planPaths(policy([], ['/srv/other']), '/work', own).readWrite).toEqual(['/srv/other']);
  });

  it('nothing of castellan’s own that is not covered lies where every program reads', () => {
    const own = (hidden: boolean): OwnPlace[] => [{ path: '/etc/castellan/log', hidden, readable: false }];
    expect(() => planPaths(policy([], []), '/work', own(false))).toThrow('lies where every program may read');
    expect(planPaths(policy([], []), '/work', own(true)).readOnly).toEqual(BASELINE_READ);
  });

  it('adds the working directory only when asked', () => {
    expect(planPaths(policy([], [], true), '/work/project', OWN).readWrite).toEqual(['/work/project']);
    expect(planPaths(policy([], []), '/work/project', OWN).readWrite).toEqual([]);
  });

  it('leaves a system directory as working directory read-only, and says so', () => {
    const plan = planPaths(policy([], [], true), '/etc', OWN);
    expect(plan.readWrite).toEqual([]);
    expect(plan.skipped).toHaveLength(1);
  });

  it.each(['/', '/etc', '/usr', '/proc', '/dev', '/home', '/run'])('refuses to make %s writable', (path) => {
    expect(() => planPaths(policy([], [path]), '/work', OWN)).toThrow(/system directory/);
  });

  it.each([
    ['writing in the run base', [], ['/run/castellan/x']],
    ['writing in the program', [], ['/opt/castellan/src']],
    ['writing a parent of the program', [], ['/opt/castellan']],
    ['reading in the run base', ['/run/castellan/x/ssh.sock'], []],
  ])('refuses %s', (_, readOnly, readWrite) => {
    expect(() => planPaths(policy(readOnly, readWrite), '/work', OWN)).toThrow(/castellan’s own/);
  });

  it('allows reading the program', () => {
    expect(() => planPaths(policy(['/opt/castellan'], []), '/work', OWN)).not.toThrow();
  });

  it('does not open a path twice', () => {
    const plan = planPaths(
      policy(['/usr', '/data', ...BASELINE_DEVICES], ['/data', '/dev/null']),
      '/work',
      OWN,
    );
    expect(plan.readWrite).toEqual(['/data']);
    expect(new Set(plan.readOnly).size).toBe(plan.readOnly.length);
    expect(plan.readOnly).not.toContain('/data');
  });
});
