import { describe, expect, it } from 'vitest';
import { describeVariables, reportVariables } from '../../../src/cli/variables.ts';
import { readRunConfig } from '../../../src/config/config.ts';
import type { Surroundings } from '../../../src/config/surroundings.ts';
import { OWN_VARIABLES, VARIABLES } from '../../../src/config/variables.ts';

const names = VARIABLES.flatMap(({ name, spellings = [] }) => [name, ...spellings]);

describe('the table of variables', () => {
  it('names each once', () => expect(new Set(names).size).toBe(names.length));

  it('has no switch that an environment could set', () => {
    for (const row of OWN_VARIABLES) if ('isSwitch' in row) expect(row.accepted).toEqual([]);
  });
});

const around = (environment: Surroundings['environment']): Surroundings => ({
  uid: 0,
  gid: 0,
  groups: [],
  pid: 1,
  parentPid: 0,
  initPid: undefined,
  workingDirectory: '/work',
  environment,
  installRoot: '/opt/castellan',
  node: '/n',
  stdinIsTerminal: false,
  stdoutIsTerminal: false,
  stderrIsTerminal: false,
});
const run = (environment: Surroundings['environment'], options: Record<string, string[]> = {}) =>
  readRunConfig(
    { options: new Map(Object.entries(options)), operands: ['ls'] },
    around(environment),
    false,
    new Date(0),
  );

describe('a run', () => {
  it('refuses a variable with castellan’s prefix that nobody knows', () => {
    expect(() => run({ CASTELLAN_MAIN_PROCES_SPEC: 'x' })).toThrow(
      'unknown variable CASTELLAN_MAIN_PROCES_SPEC; did you mean CASTELLAN_MAIN_PROCESS_SPEC?',
    );
    expect(() => run({ CASTELLAN_POLICY: '/tmp/p' })).toThrow('unknown variable CASTELLAN_POLICY');
    expect(() => run({ CASTELLAN: '1', CASTELLAN_INIT: '1', OPENSHELL_WHATEVER: 'x' })).not.toThrow();
  });

  it('gives variables to the command, or to sessions too', () => {
    expect(run({ T: 't' }, { env: ['A=1', 'T'], 'shared-env': ['B=x=y'] })).toMatchObject({
      environment: { A: '1', T: 't' },
      sharedEnvironment: { B: 'x=y' },
    });
    expect(Object.keys(run({}, { env: ['__proto__=1'] }).environment)).toEqual(['__proto__']);
    expect(() => run({}, { 'shared-env': ['B'] })).toThrow(
      '--shared-env B: castellan itself has no such variable',
    );
  });

  it.each([
    ['/run/x/ssh.sock', { kind: 'path', path: '/run/x/ssh.sock' }],
    ['ssh.sock', { kind: 'path', path: '/work/ssh.sock' }],
    ['@name', { kind: 'abstract', name: 'name' }],
  ])('answers SSH at %s', (text, expected) =>
    expect(run({}, { 'ssh-socket': [text] }).sshAddress).toEqual(expected),
  );
  it.each(['', '@', `/${'x'.repeat(107)}`, 'a\0b'])('but not at %j', (text) =>
    expect(() => run({}, { 'ssh-socket': [text] })).toThrow('a path or @name'),
  );
});

describe('castellan doctor --env', () => {
  const environment = {
    OPENSHELL_SANDBOX_TOKEN: 'hunter2',
    HTTPS_PROXY: 'http://u:hunter2@p',
    XDG_STATE_HOME: '/s',
  };
  it('tells what is set, and no secret', () => {
    const reports = reportVariables(environment);
    const here = Object.assign({}, ...reports.map((row) => row.here));
    expect(here).toEqual({ OPENSHELL_SANDBOX_TOKEN: '<set>', HTTPS_PROXY: '<set>', XDG_STATE_HOME: '/s' });
    const text = describeVariables(reports);
    for (const name of names) expect(text).toContain(name);
    expect(text).not.toContain('hunter2');
  });
});
