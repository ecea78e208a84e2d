import { describe, expect, it } from 'vitest';
import type { SandboxIdentity } from '../../../src/launch/cell.ts';
import {
  childEnvironment,
  isRequestable,
  operatorEnvironment,
  placeholderEnvironment,
  proxyEnvironment,
} from '../../../src/launch/environment.ts';

const identity: SandboxIdentity = {
  uid: 20_001,
  gid: 20_002,
  groups: [],
  user: 'agent',
  home: '/home/agent',
  shell: '/bin/bash',
  source: 'test',
};

function environment(sources: Partial<Parameters<typeof childEnvironment>[0]> = {}): Map<string, string> {
  const lines = childEnvironment({ identity, shared: {}, requested: {}, terminal: undefined, ...sources });
  return new Map(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

describe('childEnvironment', () => {
  it('is made from nothing', () => {
    expect(Object.fromEntries(environment())).toEqual({
      CASTELLAN: '1',
      HOME: '/home/agent',
      LANG: 'C.UTF-8',
      LOGNAME: 'agent',
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      SHELL: '/bin/bash',
      USER: 'agent',
    });
  });

  it('lets the later source win, but never the mark', () => {
    const got = environment({
      shared: { A: 'shared', B: 'shared', HOME: '/x' },
      requested: { B: 'requested', CASTELLAN: '0' },
    });
    expect([got.get('A'), got.get('B'), got.get('HOME'), got.get('CASTELLAN')]).toEqual([
      'shared',
      'requested',
      '/x',
      '1',
    ]);
  });

  it.each([
    { terminal: 'screen-256color', want: 'screen-256color' },
    { terminal: '', want: 'xterm-256color' },
    { terminal: '../../evil', want: 'xterm-256color' },
    { terminal: 'x\nPATH=/evil', want: 'xterm-256color' },
    { terminal: undefined, want: undefined },
  ])('gives TERM for $terminal', ({ terminal, want }) => {
    expect(environment({ terminal, requested: {} }).get('TERM')).toBe(want);
  });
});

describe('proxyEnvironment', () => {
  it('names the proxy in every spelling, and no host that could bypass it', () => {
    const variables = proxyEnvironment('http://127.0.0.1:9');
    for (const name of [
      'HTTP_PROXY',
      'HTTPS_PROXY',
      'ALL_PROXY',
      'http_proxy',
      'https_proxy',
      'all_proxy',
      'grpc_proxy',
    ])
      expect(variables[name]).toBe('http://127.0.0.1:9');
    expect(variables['NO_PROXY']).toBe('127.0.0.1,localhost,::1');
    expect(variables['no_proxy']).toBe(variables['NO_PROXY']);
    expect(variables['NODE_USE_ENV_PROXY']).toBe('1');
  });
});

describe('operatorEnvironment', () => {
  it.each(['A', 'MY_TOKEN', '_x9', 'NODE_ENV', 'PYTHONPATH', 'HOME'])('takes %s', (name) => {
    expect(operatorEnvironment({ [name]: 'value' })).toEqual({ [name]: 'value' });
  });

  it.each([
    '',
    '1A',
    'A B',
    'A=B',
    'A\0',
    'Ä',
    'A'.repeat(129),
    'LD_PRELOAD',
    'LD_AUDIT',
    'BASH_ENV',
    'ENV',
    'NODE_OPTIONS',
    'OPENSHELL_MAIN_PROCESS_SPEC',
    'CASTELLAN_MAIN_PROCESS_SPEC',
    'CASTELLAN',
  ])('refuses %j', (name) => {
    expect(() => operatorEnvironment({ [name]: 'value' })).toThrow(
      expect.objectContaining({ code: 'usage' }),
    );
  });

  it('refuses values that cannot be passed', () => {
    expect(() => operatorEnvironment({ A: 'x\0y' })).toThrow(expect.objectContaining({ code: 'usage' }));
    expect(() => operatorEnvironment({ A: 'x'.repeat(64 * 1024 + 1) })).toThrow(
      expect.objectContaining({ code: 'usage' }),
    );
  });
});

describe('isRequestable', () => {
  it.each(['LANG', 'LC_ALL', 'LC_CTYPE', 'TERM', 'COLORTERM', 'EDITOR', 'VISUAL', 'TZ'])(
    'lets a session set %s',
    (name) => {
      expect(isRequestable(name, 'x', [])).toBe(true);
    },
  );

  it.each([
    'PATH',
    'HOME',
    'LD_PRELOAD',
    'HTTPS_PROXY',
    'NODE_OPTIONS',
    'LC_',
    'LC_x=y',
    'XLANG',
    'LANGX',
    'GIT_SSH',
  ])('refuses %s', (name) => {
    expect(isRequestable(name, 'x', [])).toBe(false);
  });

  it('takes what the operator allowed, unless it loads code or cannot be passed', () => {
    expect(isRequestable('GIT_AUTHOR_NAME', 'x', ['GIT_AUTHOR_NAME'])).toBe(true);
    expect(isRequestable('LD_PRELOAD', 'x', ['LD_PRELOAD'])).toBe(false);
    expect(isRequestable('LANG', 'x\0', [])).toBe(false);
  });
});

describe('placeholders', () => {
  const VALUE = 'openshell:resolve:env:TOKEN';

  it('become variables', () => {
    expect(placeholderEnvironment({ TOKEN: VALUE }, { OTHER: 'x' })).toEqual({ TOKEN: VALUE });
  });

  it.each([
    ['taken by --env', 'TOKEN', 'has another value already'],
    ['of every process', 'PATH', 'has another value already'],
    ['that loads code', 'LD_PRELOAD', 'makes programs load code'],
    ['of castellan', 'CASTELLAN', 'is reserved'],
  ])('not in a variable %s', (_, name, message) => {
    expect(() => placeholderEnvironment({ [name]: VALUE }, { TOKEN: 'x' })).toThrow(
      expect.objectContaining({
        code: 'credentials_invalid',
        message: expect.stringContaining(`credential ${name}: `),
      }),
    );
    expect(() => placeholderEnvironment({ [name]: VALUE }, { TOKEN: 'x' })).toThrow(message);
  });
});
