import { describe, expect, it } from 'vitest';
import type { Cell } from '../../../src/launch/cell.ts';
import { confine, confineRole } from '../../../src/launch/confine.ts';

const cell: Cell = {
  identity: {
    uid: 20_001,
    gid: 20_002,
    groups: [20_003],
    user: 'agent',
    home: '/home/agent',
    shell: '/bin/sh',
    source: 'test',
  },
  changeCredentials: true,
  workingDirectory: '/work',
  cgroup: { directory: 8, procs: 9 },
  seccompRelax: [],
  namespaces: { user: undefined, network: 11 },
  view: undefined,
  mounts: [{ kind: 'hide', path: '/run/castellan' }],
  landlock: {
    handledFs: 1n,
    handledNet: 0n,
    scoped: 0n,
    rules: [{ descriptor: 12, access: 1n }],
    ports: [],
    restrictFlags: 0,
  },
  resourceLimits: [{ resource: 4, soft: 0n, hard: 0n }],
  environment: { HTTPS_PROXY: 'http://127.0.0.1:3128' },
};

describe('confine', () => {
  it('gives every command all of the cell', () => {
    const spec = confine(cell, { argv: ['id', '-u'], environment: { EXTRA: '1' } });
    expect(spec).toMatchObject({
      argv: ['id', '-u'],
      workingDirectory: '/work',
      credentials: { uid: 20_001, gid: 20_002, groups: [20_003] },
      newSession: true,
      resourceLimits: cell.resourceLimits,
      umask: 0o022,
      namespaces: cell.namespaces,
      mounts: cell.mounts,
      landlock: cell.landlock,
      seccomp: 'agent',
      keep: [],
    });
    expect(spec.environment).toEqual(
      expect.arrayContaining(['EXTRA=1', 'HTTPS_PROXY=http://127.0.0.1:3128', 'USER=agent', 'CASTELLAN=1']),
    );
  });

  it('leaves the session to the terminal that makes one', () => {
    const spec = confine(cell, { argv: ['sh'], terminal: 'vt100', workingDirectory: '/tmp' });
    expect(spec.newSession).toBe(false);
    expect(spec.workingDirectory).toBe('/tmp');
    expect(spec.environment).toContain('TERM=vt100');
  });

  it('keeps the ids of a rootless run', () => {
    expect(confine({ ...cell, changeCredentials: false }, { argv: ['id'] }).credentials).toBeUndefined();
  });

  it.each([
    { argv: [] },
    { argv: [''] },
    { argv: ['a\0b'] },
    { argv: ['a', 'b\0'] },
    { argv: ['a'], workingDirectory: '/\0' },
  ])('refuses what cannot be executed: %j', (command) => {
    expect(() => confine(cell, command)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

describe('confineRole', () => {
  it('confines the network role without the agent namespace', () => {
    const spec = confineRole({
      argv: ['/node'],
      environment: ['A=1'],
      credentials: { uid: 1337, gid: 1337, groups: [] },
      mounts: [],
      landlock: cell.landlock,
      keep: [{ descriptor: 20, target: 3 }],
    });
    expect(spec).toMatchObject({
      seccomp: 'network-role',
      environment: ['A=1'],
      credentials: { uid: 1337, gid: 1337, groups: [] },
      newSession: true,
      umask: 0o077,
      namespaces: { user: undefined, network: undefined },
      keep: [{ descriptor: 20, target: 3 }],
    });
    expect(spec.resourceLimits).toContainEqual({ resource: 4, soft: 0n, hard: 0n });
  });
});
