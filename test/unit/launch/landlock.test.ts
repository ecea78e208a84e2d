import { describe, expect, it } from 'vitest';
import { FILESYSTEM_RIGHTS, landlockGaps, landlockSpec } from '../../../src/launch/landlock.ts';

const ABIS = [1, 2, 3, 4, 5, 6, 7];

/** include/uapi/linux/landlock.h: one past the highest filesystem right of each ABI. */
const MASKS = new Map([
  [1, 0x1fffn],
  [2, 0x3fffn],
  [3, 0x7fffn],
  [4, 0x7fffn],
  [5, 0xffffn],
  [6, 0xffffn],
  [7, 0xffffn],
]);
/** ACCESS_FILE in security/landlock/fs.c: what a rule on anything but a directory may hold. */
const ON_FILES = 0b1100_0000_0000_0111n;
const WRITES = FILESYSTEM_RIGHTS.filter(({ access }) => access === 'write').reduce(
  (sum, { bit }) => sum | (1n << BigInt(bit)),
  0n,
);
const KINDS = [
  { isDirectory: true, access: 'read' },
  { isDirectory: true, access: 'write' },
  { isDirectory: false, access: 'read' },
  { isDirectory: false, access: 'write' },
] as const;

function accessOf(abi: number, kind: (typeof KINDS)[number]): bigint {
  const [rule] = landlockSpec(abi, [{ descriptor: 9, ...kind }]).rules;
  if (rule === undefined) throw new Error('no rule');
  expect(rule.descriptor).toBe(9);
  return rule.access;
}

describe('landlockSpec', () => {
  it.each(ABIS)('handles exactly what ABI %i knows', (abi) => {
    const spec = landlockSpec(abi, []);
    expect(spec.handledFs).toBe(MASKS.get(abi));
    expect(spec.handledNet).toBe(0n);
    expect(spec.scoped).toBe(abi >= 6 ? 0b11n : 0n);
  });

  it.each(ABIS.flatMap((abi) => KINDS.map((kind) => ({ abi, ...kind }))))(
    'keeps a rule within its ABI, kind and access: $abi $isDirectory $access',
    ({ abi, ...kind }) => {
      const access = accessOf(abi, kind);
      expect(access & ~(MASKS.get(abi) ?? 0n)).toBe(0n);
      expect(access).not.toBe(0n);
      if (!kind.isDirectory) expect(access & ~ON_FILES).toBe(0n);
      if (kind.access === 'read') expect(access & WRITES).toBe(0n);
    },
  );

  it.each([
    { name: 'read a directory', abi: 7, kind: KINDS[0], access: 0b1101n },
    { name: 'write a directory', abi: 7, kind: KINDS[1], access: 0xffffn },
    { name: 'write a directory without REFER', abi: 1, kind: KINDS[1], access: 0x1fffn },
    { name: 'read a file', abi: 7, kind: KINDS[2], access: 0b101n },
    { name: 'write a file or device', abi: 7, kind: KINDS[3], access: ON_FILES },
    { name: 'write a file before TRUNCATE and IOCTL_DEV', abi: 2, kind: KINDS[3], access: 0b111n },
  ])('gives the rights to $name', ({ abi, kind, access }) => {
    expect(accessOf(abi, kind)).toBe(access);
  });

  it.each([
    { abi: 3, ports: { bind: [], connect: [443] }, handled: 0n, rules: [] },
    { abi: 4, ports: {}, handled: 0n, rules: [] },
    { abi: 4, ports: { bind: [] }, handled: 1n, rules: [] },
    {
      abi: 7,
      ports: { bind: [], connect: [53, 443] },
      handled: 3n,
      rules: [
        { port: 53, access: 2n },
        { port: 443, access: 2n },
      ],
    },
    { abi: 7, ports: { bind: [8080] }, handled: 1n, rules: [{ port: 8080, access: 1n }] },
  ])('restricts TCP only where ports are listed: $abi $ports', ({ abi, ports, handled, rules }) => {
    const spec = landlockSpec(abi, [], ports);
    expect(spec.handledNet).toBe(handled);
    expect(spec.ports).toEqual(rules);
  });

  it('tells the kernel’s log of the command’s refusals, from ABI 7 on', () => {
    expect(ABIS.map((abi) => landlockSpec(abi, []).restrictFlags)).toEqual([0, 0, 0, 0, 0, 0, 7]);
  });

  it('knows what an older kernel leaves open', () => {
    expect(ABIS.map((abi) => landlockGaps(abi).length)).toEqual([5, 4, 3, 2, 1, 0, 0]);
  });

  it('takes a newer ABI as the newest known, and refuses what is none', () => {
    expect(landlockSpec(99, [])).toEqual(landlockSpec(7, []));
    for (const abi of [0, -1, 1.5, Number.NaN]) expect(() => landlockSpec(abi, [])).toThrow(RangeError);
  });
});
