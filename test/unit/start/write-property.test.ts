import { describe, expect, it } from 'vitest';
import { CastellanError } from '../../../src/errors.ts';
import { confine } from '../../../src/launch/confine.ts';
import { FILESYSTEM_RIGHTS, landlockSpec } from '../../../src/launch/landlock.ts';
import { BASELINE_DEVICES, covers, planPaths } from '../../../src/start/path-plan.ts';
import { seededRandom } from '../random.ts';

const WORDS = [
  'usr',
  'etc',
  'tmp',
  'work',
  'data',
  'run',
  'castellan',
  'proc',
  'sys',
  'fs',
  'cgroup',
  'dev',
  'null',
  'home',
  'a',
];
const OWN = [
  { path: '/run/castellan', hidden: true, readable: false },
  { path: '/var/log/castellan', hidden: false, readable: false },
  { path: '/opt/castellan', hidden: false, readable: true },
];
const WRITES = FILESYSTEM_RIGHTS.filter(({ access }) => access === 'write').reduce(
  (sum, { bit }) => sum | (1n << BigInt(bit)),
  0n,
);
const RUNS = 3000;

describe('whatever a policy says', () => {
  it('no launch may write outside read_write, nor in castellan’s own places', () => {
    const random = seededRandom(7);
    let accepted = 0;
    for (let run = 0; run < RUNS; run++) {
      const path = () =>
        `/${Array.from({ length: random.below(4) }, () => WORDS[random.below(WORDS.length)]).join('/')}`;
      const list = () => Array.from({ length: random.below(4) }, path);
      const policy = { includeWorkdir: random.below(2) === 0, readOnly: list(), readWrite: list() };
      const workdir = path();
      try {
        check(policy, workdir, 1 + random.below(7));
        accepted += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(CastellanError);
      }
    }
    // A generator whose policies are all refused would prove nothing.
    expect(accepted).toBeGreaterThan(RUNS / 10);
  });
});

function check(policy: Parameters<typeof planPaths>[0], workdir: string, abi: number): void {
  const plan = planPaths(policy, workdir, OWN);
  const grants = [
    ...plan.readWrite.map((path) => ({ path, access: 'write' as const })),
    ...plan.readOnly.map((path) => ({ path, access: 'read' as const })),
    ...BASELINE_DEVICES.map((path) => ({ path, access: 'write' as const })),
  ].map((grant, descriptor) => ({ ...grant, descriptor, isDirectory: descriptor % 2 === 0 }));
  const spec = confine(
    {
      identity: { uid: 1000, gid: 1000, groups: [], user: 'u', home: '/', shell: '/bin/sh', source: 'test' },
      changeCredentials: true,
      workingDirectory: workdir,
      cgroup: undefined,
      namespaces: { user: undefined, network: undefined },
      view: undefined,
      mounts: [],
      landlock: landlockSpec(abi, grants),
      seccompRelax: [],
      resourceLimits: [],
      environment: {},
    },
    { argv: ['true'] },
  );
  const allowed = [...policy.readWrite, ...(policy.includeWorkdir ? [workdir] : []), ...BASELINE_DEVICES];
  for (const { descriptor, access } of spec.landlock?.rules ?? []) {
    const path = grants[descriptor]?.path ?? '';
    if ((access & WRITES) === 0n) continue;
    expect(allowed).toContain(path);
    // Parents of a covered place may be granted; it is covered then.
    for (const { path: own, hidden } of OWN) {
      expect(covers(own, path), path).toBe(false);
      if (!hidden) expect(covers(path, own), path).toBe(false);
    }
  }
}
