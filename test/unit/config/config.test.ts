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
  it('lets programs ask for rules only where somebody reads them', () => {
    expect(read({}).takesProposals).toBe(false);
    expect(read({ 'policy-proposals': [''] }).takesProposals).toBe(true);
    expect(() => read({ 'policy-proposals': [''], roles: ['process'] }, user)).toThrow(
      'takes the network role',
    );
  });

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
    [{ timeout: ['-1'] }],
    [{ timeout: ['1.5'] }],
    [{ timeout: [`${22 * 24 * 3600}`] }],
    [{ tty: [''] }],
    [{ env: ['1A=x'] }],
    [{ env: ['MISSING'] }],
  ])('refuses %j', (options) => {
    expect(() => read(options)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

describe('the main process', () => {
  const SPEC = '{"version":1,"command":["from","spec"],"tty":true}';
  const terminal = { stdinIsTerminal: true, stdoutIsTerminal: true };
  const main = (operands: string[], change: Partial<Surroundings> = {}, options: string[] = []) => {
    const { command, retain } = readRunConfig(
      { options: new Map(options.map((name) => [name, ['']])), operands },
      { ...root, ...change },
      false,
      NOW,
    );
    return { command, retain };
  };
  const environment = { OPENSHELL_MAIN_PROCESS_SPEC: SPEC };
  const plain = { OPENSHELL_MAIN_PROCESS_SPEC: SPEC.replace('true', 'false') };

  it.each([
    ['the command line', ['ls'], {}, [], ['ls'], undefined],
    ['the command line before the variable', ['ls'], { environment }, [], ['ls'], undefined],
    ['the variable, retained', [], { environment }, [], ['from', 'spec'], { terminal: true }],
    [
      'pipes though castellan has a terminal',
      [],
      { environment: plain, ...terminal },
      [],
      ['from', 'spec'],
      { terminal: false },
    ],
    ['--tty beside the variable', [], { environment: plain }, ['tty'], ['from', 'spec'], { terminal: true }],
    ['a shell for a terminal', [], terminal, [], undefined, undefined],
    ['a retained shell', [], terminal, ['retain'], undefined, { terminal: true }],
    ['--retain without a terminal', ['ls'], {}, ['retain'], ['ls'], { terminal: false }],
    ['--retain --tty', ['ls'], {}, ['retain', 'tty'], ['ls'], { terminal: true }],
    ['--retain on a terminal', ['ls'], terminal, ['retain'], ['ls'], { terminal: true }],
  ] as const)('%s', (_, operands, change, options, command, retain) => {
    expect(main([...operands], change, [...options])).toEqual({ command, retain });
  });

  it.each([
    ['nothing to run', [], {}, [], /a command is missing/],
    ['an empty command', [''], terminal, [], /a command is missing/],
    ['an empty command beside the variable', [''], { environment }, [], /a command is missing/],
    ['--tty alone', ['ls'], {}, ['tty'], /--tty takes --retain/],
    [
      'a malformed variable',
      [],
      { environment: { OPENSHELL_MAIN_PROCESS_SPEC: '{}' } },
      [],
      /^OPENSHELL_MAIN_PROCESS_SPEC/,
    ],
  ] as const)('refuses %s', (_, operands, change, options, message) => {
    expect(() => main([...operands], change, [...options])).toThrow(message);
  });

  it('has a time limit when one is given', () => {
    expect(read({}).timeLimitMs).toBeUndefined();
    expect(read({ timeout: ['0'] }).timeLimitMs).toBeUndefined();
    expect(read({ timeout: ['90'] }).timeLimitMs).toBe(90_000);
  });
});
