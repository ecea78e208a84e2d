import { describe, expect, it } from 'vitest';
import { encodeSpec } from '../../../src/launch/encode.ts';
import type { LaunchSpec } from '../../../src/launch/spec.ts';

const LEAST: LaunchSpec = {
  argv: ['true'],
  environment: [],
  workingDirectory: '/',
  directoryAccess: [],
  cgroup: undefined,
  checkOnly: false,
  credentials: undefined,
  newSession: false,
  resourceLimits: [],
  umask: 0o22,
  namespaces: { user: undefined, network: undefined },
  view: undefined,
  mounts: [],
  landlock: undefined,
  seccomp: 'none',
  seccompRelax: [],
  keep: [],
  target: undefined,
};

/** Reads records back as the launcher does. */
function recordsOf(spec: LaunchSpec): [number, string][] {
  const bytes = Buffer.from(encodeSpec(spec).bytes);
  const records: [number, string][] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4);
    expect(bytes.readUInt16LE(at + 2)).toBe(0);
    records.push([bytes.readUInt16LE(at), bytes.toString('hex', at + 8, at + 8 + length)]);
    at += 8 + length;
  }
  return records;
}

const text = (value: string) => Buffer.from(value).toString('hex');

describe('encodeSpec', () => {
  const least = [
    [1, text('true')],
    [3, text('/')],
    [19, '00000000'],
    [9, '12000000'],
    [16, '00000000'],
    [22, '00000000'],
  ];

  it('writes what every spec has', () => expect(recordsOf(LEAST)).toEqual(least));

  it.each<[string, LaunchSpec['target'], [number, string]]>([
    [
      'IPv4',
      { kind: 'tcp', address: { family: 4, value: 0x7f00_0001n }, port: 80 },
      [26, '500000007f000001'],
    ],
    [
      'IPv6',
      { kind: 'tcp', address: { family: 6, value: 1n }, port: 80 },
      [26, `50000000${'0'.repeat(31)}1`],
    ],
    ['a path', { kind: 'unix', path: '/a' }, [27, text('/a')]],
  ])('writes where to connect to: %s', (_, target, record) => {
    expect(recordsOf({ ...LEAST, argv: [], target })).toEqual([...least.slice(1), record]);
  });

  it.each<[string, Partial<LaunchSpec>, [number, string][]]>([
    [
      'arguments and environment',
      { argv: ['a', 'ü'], environment: ['A=1'] },
      [
        [1, text('a')],
        [1, text('ü')],
        [2, text('A=1')],
      ],
    ],
    [
      'credentials',
      { credentials: { uid: 20001, gid: 4_000_000_000, groups: [44, 7] } },
      [
        [4, '214e0000'],
        [5, '00286bee'],
        [6, '2c000000'],
        [6, '07000000'],
      ],
    ],
    ['a new session', { newSession: true }, [[7, '']]],
    [
      'a resource limit',
      { resourceLimits: [{ resource: 4, soft: 0n, hard: 2n ** 64n - 1n }] },
      [[8, `0400000000000000${'0'.repeat(16)}${'f'.repeat(16)}`]],
    ],
    ['a profile', { seccomp: 'network-role' }, [[16, '02000000']]],
    [
      'mounts in order',
      {
        mounts: [
          { kind: 'hide', path: '/a' },
          { kind: 'bind', descriptor: 9, path: '/b' },
        ],
      },
      [
        [12, text('/a')],
        [13, `00000000${text('/b')}`],
      ],
    ],
  ])('%s', (_, part, expected) => {
    expect(recordsOf({ ...LEAST, ...part })).toEqual(expect.arrayContaining(expected));
  });

  it('refers to descriptors by their place in the list', () => {
    const spec: LaunchSpec = {
      ...LEAST,
      cgroup: { directory: 28, procs: 29 },
      namespaces: { user: 30, network: 31 },
      mounts: [{ kind: 'bind', descriptor: 32, path: '/b' }],
      landlock: {
        handledFs: 1n,
        handledNet: 0n,
        scoped: 3n,
        rules: [{ descriptor: 33, access: 5n }],
        ports: [{ port: 443, access: 2n }],
        restrictFlags: 6,
      },
      keep: [{ descriptor: 34, target: 3 }],
    };
    expect(encodeSpec(spec).descriptors).toEqual([29, 30, 31, 32, 33, 34]);
    expect(recordsOf(spec)).toEqual(
      expect.arrayContaining([
        [18, '00000000'],
        [10, '01000000'],
        [11, '02000000'],
        [13, `03000000${text('/b')}`],
        [14, `01${'0'.repeat(30)}03${'0'.repeat(14)}`],
        [15, `0400000000000000${'05'.padEnd(16, '0')}`],
        [24, `${'02'.padEnd(16, '0')}${'bb01'.padEnd(16, '0')}`],
        [21, '06000000'],
        [17, '0500000003000000'],
      ]),
    );
  });
});
