import { describe, expect, it } from 'vitest';
import { addBinaryTargets, literalBinaries } from '../../../src/policy/binaries.ts';

const position = { line: 1, column: 1 };
const rules = [
  { name: 'a', position, endpoints: [], binaries: [{ path: '/usr/bin/python3' }, { path: '/opt/*' }] },
  { name: 'b', position, endpoints: [], binaries: [{ path: '/usr/bin/python3' }, { path: '/bin/sh' }] },
];

describe('binaries that are symbolic links', () => {
  it('may be all that are no patterns', () => {
    expect(literalBinaries(rules)).toEqual(['/usr/bin/python3', '/bin/sh']);
  });

  it('are joined by their targets', () => {
    const targets = new Map([
      ['/usr/bin/python3', '/usr/bin/python3.11'],
      ['/bin/sh', '/bin/sh'],
      ['/opt/*', '/never'],
    ]);
    expect(addBinaryTargets(rules, targets).map(({ binaries }) => binaries.map(({ path }) => path))).toEqual([
      ['/usr/bin/python3', '/opt/*', '/usr/bin/python3.11'],
      ['/usr/bin/python3', '/bin/sh', '/usr/bin/python3.11'],
    ]);
  });

  it('hand their pins to their targets, and to no others', () => {
    const pin = { sha256: ['a'.repeat(64)] };
    const rule = { name: 'c', position, endpoints: [] };
    const binaries = [{ path: '/usr/bin/python3', ...pin }, { path: '/bin/sh' }, { path: '/opt/*', ...pin }];
    const targets = new Map([
      ['/usr/bin/python3', '/usr/bin/python3.11'],
      ['/bin/sh', '/bin/dash'],
    ]);
    expect(addBinaryTargets([{ ...rule, binaries }], targets)[0]?.binaries).toEqual([
      ...binaries,
      { path: '/usr/bin/python3.11', ...pin },
      { path: '/bin/dash' },
    ]);
  });

  it('do not become patterns by the name of a target', () => {
    const [rule] = addBinaryTargets(rules, new Map([['/usr/bin/python3', '/**']]));
    expect(rule?.binaries).toEqual(rules[0]?.binaries);
  });
});
