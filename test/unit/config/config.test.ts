import { describe, expect, it } from 'vitest';
import { readRunConfig } from '../../../src/config/config.ts';
import type { Surroundings } from '../../../src/config/surroundings.ts';

const root: Surroundings = {
  uid: 0,
  gid: 0,
  groups: [],
  pid: 1,
  parentPid: 0,
  initPid: undefined,
  workingDirectory: '/work',
  environment: { TOKEN: 'x' },
  installRoot: '/opt/castellan',
  node: '/n',
  stdinIsTerminal: false,
  stdoutIsTerminal: false,
  stderrIsTerminal: false,
};
const user: Surroundings = {
  ...root,
  uid: 1000,
  environment: { XDG_RUNTIME_DIR: '/run/user/1000', HOME: '/home/u' },
};
const NOW = new Date('2026-01-02T03:04:05.678Z');
const read = (options: Record<string, string[]>, surroundings = root, installed = false) =>
  readRunConfig(
    { options: new Map(Object.entries(options)), operands: ['ls'] },
    surroundings,
    installed,
    NOW,
  );

describe('readRunConfig', () => {
  it('knows where things go', () => {
    expect(read({ name: ['a'] })).toMatchObject({
      mode: 'root',
      runBase: '/run/castellan',
      auditPath: '/var/log/castellan/a-20260102T030405Z.jsonl',
      policyPath: undefined,
    });
    expect(read({ name: ['a'] }, user)).toMatchObject({
      mode: 'rootless',
      runBase: '/run/user/1000/castellan',
      auditPath: '/home/u/.local/state/castellan/a-20260102T030405Z.jsonl',
    });
    expect(read({}, { ...user, environment: {} })).toMatchObject({ runBase: '/tmp/castellan-1000' });
    expect(read({}, { ...user, environment: { XDG_RUNTIME_DIR: 'relative' } })).toMatchObject({
      runBase: '/tmp/castellan-1000',
    });
  });

  it('takes the installed policy where none is named', () => {
    expect(read({}, root, true).policyPath).toBe('/etc/castellan/policy.yaml');
    expect(read({ policy: ['p.yaml'] }, root, true).policyPath).toBe('/work/p.yaml');
  });

  it('passes on what the operator names, and nothing else', () => {
    expect(read({ env: ['A=1=2', 'TOKEN', 'EMPTY='] }).environment).toEqual({
      A: '1=2',
      TOKEN: 'x',
      EMPTY: '',
    });
    expect(read({}).environment).toEqual({});
  });

  it.each([
    [{ name: ['../x'] }],
    [{ name: ['A'] }],
    [{ name: [''] }],
    [{ name: ['a'.repeat(32)] }],
    [{ grace: ['-1'] }],
    [{ grace: ['1.5'] }],
    [{ grace: ['3601'] }],
    [{ 'proxy-uid': ['0'] }],
    [{ 'proxy-uid': ['4294967295'] }],
    [{ env: ['1A=x'] }],
    [{ env: ['MISSING'] }],
  ])('refuses %j', (options) => {
    expect(() => read(options)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});
