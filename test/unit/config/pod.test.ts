/** Which options belong to which container of a pod. */
import { describe, expect, it } from 'vitest';
import { type RunConfig, readRunConfig } from '../../../src/config/config.ts';
import type { Surroundings } from '../../../src/config/surroundings.ts';

const SURROUNDINGS: Surroundings = {
  uid: 1500,
  gid: 1500,
  groups: [],
  pid: 9,
  parentPid: 1,
  initPid: 1,
  workingDirectory: '/work',
  environment: {},
  installRoot: '/opt/castellan',
  node: '/n',
  stdinIsTerminal: false,
  stdoutIsTerminal: false,
  stderrIsTerminal: false,
};

const read = (options: Record<string, string>, operands: readonly string[] = [], uid = 1500): RunConfig =>
  readRunConfig(
    { options: new Map(Object.entries(options).map(([name, value]) => [name, [value]])), operands },
    { ...SURROUNDINGS, uid },
    true,
    new Date(0),
  );

const SIDECAR = { roles: 'network', 'control-socket': 'c.sock' };
const AGENT = { roles: 'process', 'control-socket': '/c/c.sock' };

describe('the sidecar', () => {
  it('needs no command, and runs as the uid it has', () => {
    expect(read(SIDECAR)).toMatchObject({
      mode: 'sidecar',
      command: undefined,
      networkRoleUid: 1500,
      policyPath: '/etc/castellan/policy.yaml',
      pod: { controlSocket: '/work/c.sock', sandboxUid: undefined, binaryIdentity: 'process' },
    });
  });

  it('started as root becomes another', () => {
    expect(read({ ...SIDECAR, 'sandbox-uid': '7', 'binary-identity': 'none' }, [], 0)).toMatchObject({
      networkRoleUid: 1337,
      pod: { sandboxUid: 7, binaryIdentity: 'none' },
    });
  });

  it.each([
    [{ roles: 'network' }, '--roles network takes --control-socket'],
    [{ ...SIDECAR, 'control-socket': '' }, '--control-socket needs a path'],
    [{ ...SIDECAR, workdir: '/x' }, '--workdir is about the command'],
    [{ ...SIDECAR, env: 'A=1' }, '--env is about the command'],
    [{ ...SIDECAR, retain: '' }, '--retain is about the command'],
    [{ ...SIDECAR, explain: '' }, '--explain is about the command'],
    [{ ...SIDECAR, 'proxy-uid': '1337' }, 'castellan was started as 1500'],
    [{ ...SIDECAR, 'sandbox-uid': '1500' }, 'the sandbox would be let out'],
    [{ ...SIDECAR, 'sandbox-uid': '0' }, '--sandbox-uid 0'],
    [{ ...SIDECAR, 'binary-identity': 'nobody' }, 'one of process, sidecar, none'],
  ])('refuses %o', (options, message) => {
    expect(() => read(options)).toThrow(message);
  });

  it('takes no command', () => {
    expect(() => read(SIDECAR, ['ls'])).toThrow('takes no command');
  });
});

describe('the agent’s container', () => {
  it('leaves an installed policy to the sidecar', () => {
    expect(read(AGENT, ['ls'])).toMatchObject({
      mode: 'process-only',
      policyPath: undefined,
      pod: { controlSocket: '/c/c.sock' },
    });
  });

  it.each([
    [{ policy: '/p' }, '--policy belongs to the sidecar'],
    [{ 'audit-file': '/a' }, '--audit-file belongs to the sidecar'],
    [{ 'proxy-uid': '5' }, '--proxy-uid belongs to the sidecar'],
    [{ explain: '' }, '--explain belongs to the sidecar'],
    [{ credentials: '/c' }, '--credentials takes the network role'],
    [{ 'upstream-proxy': 'http://a' }, '--upstream-proxy takes the network role'],
    [{ 'inference-routes': '/i' }, '--inference-routes takes the network role'],
    [{ reload: 'signal' }, '--reload takes the network role'],
    [{ 'policy-proposals': '' }, '--policy-proposals takes the network role'],
    [{ 'health-listen': '127.0.0.1:1' }, '--health-listen takes the network role'],
    [{ 'sandbox-uid': '5' }, '--sandbox-uid takes the network role'],
    [{ 'binary-identity': 'none' }, '--binary-identity takes the network role'],
  ])('refuses %o', (options, message) => {
    expect(() => read({ ...AGENT, ...options }, ['ls'])).toThrow(message);
  });

  it('is never root’s', () => {
    expect(() => read(AGENT, ['ls'], 0)).toThrow('not as root');
  });
});

describe('one container', () => {
  it.each(['control-socket', 'sandbox-uid', 'binary-identity'])('has no use for --%s', (name) => {
    expect(() => read({ [name]: '1' }, ['ls'])).toThrow('two containers of a pod');
  });

  it('of a process role may still have its own policy', () => {
    expect(read({ roles: 'process', policy: '/p' }, ['ls'])).toMatchObject({
      policyPath: '/p',
      pod: undefined,
    });
  });
});
