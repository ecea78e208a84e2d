import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { knownHostsLine, sshArguments } from '../../../src/session/ssh/client-arguments.ts';

const base = {
  name: 'amber-fox',
  user: 'agent',
  socketPath: '/run/castellan/amber-fox/ssh.sock',
  knownHosts: '/run/castellan/amber-fox/known_hosts',
  castellan: '/opt/castellan/bin/castellan',
  tty: undefined,
  command: [],
};

function option(argv: readonly string[], name: string): string | undefined {
  return argv.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
}

describe('sshArguments', () => {
  it('asks for a shell', () => {
    const argv = sshArguments(base);
    expect(argv.slice(0, 2)).toEqual(['-F', 'none']);
    expect(argv.slice(-4)).toEqual(['-l', 'agent', '--', 'castellan-amber-fox']);
    expect(option(argv, 'ProxyCommand')).toBe(
      '/opt/castellan/bin/castellan ssh-proxy /run/castellan/amber-fox/ssh.sock',
    );
    expect(option(argv, 'UserKnownHostsFile')).toBe('"/run/castellan/amber-fox/known_hosts"');
    expect(option(argv, 'StrictHostKeyChecking')).toBe('yes');
    expect(option(argv, 'HostKeyAlias')).toBe('castellan-amber-fox');
  });

  it.each([
    { tty: true, want: '-t' },
    { tty: false, want: '-T' },
  ])('passes the wish for a terminal on: $tty', ({ tty, want }) => {
    expect(sshArguments({ ...base, tty })).toContain(want);
  });

  it('passes forwards on, and has the client say why one is refused', () => {
    expect(option(sshArguments(base), 'LogLevel')).toBe('ERROR');
    const argv = sshArguments({ ...base, forwards: ['-N', '-L', '1:localhost:2'] });
    expect(argv.slice(-7)).toEqual(['-N', '-L', '1:localhost:2', '-l', 'agent', '--', 'castellan-amber-fox']);
    expect(option(argv, 'LogLevel')).toBe('INFO');
    expect(option(argv, 'ExitOnForwardFailure')).toBe('yes');
  });

  it('marks off a command that looks like options', () => {
    expect(sshArguments({ ...base, command: ['-v', '--', 'x y'] }).slice(-5)).toEqual([
      '--',
      'castellan-amber-fox',
      '-v',
      '--',
      'x y',
    ]);
  });

  it.each(['/tmp/a b', "/tmp/it's", '/tmp/100%h', '/tmp/$HOME`id`;&|<>*?"\\', '/tmp/ü'])(
    'lets ssh and the shell give back %s',
    (path) => {
      const argv = sshArguments({ ...base, castellan: path, socketPath: path });
      const words = option(argv, 'ProxyCommand')
        ?.replaceAll('%%', '\0')
        .replaceAll(/%./g, 'EXPANDED')
        .replaceAll('\0', '%');
      const got = execFileSync('/bin/sh', ['-c', `printf '%s\\n' ${words}`], { encoding: 'utf8' });
      expect(got).toBe(`${path}\nssh-proxy\n${path}\n`);
    },
  );

  it.each(['/tmp/a b', '/tmp/100%h', '/tmp/"q"\\', "/tmp/it's"])(
    'lets ssh read the known hosts in %s',
    (knownHosts) => {
      const argv = sshArguments({ ...base, knownHosts });
      const config = execFileSync('ssh', ['-G', ...argv], { encoding: 'utf8' });
      expect(config.split('\n')).toContain(`userknownhostsfile ${knownHosts}`);
    },
  );

  it.each([
    { socketPath: '/tmp/a\nb' },
    { castellan: '/tmp/a\0b' },
    { knownHosts: '/tmp/a\rb' },
    { knownHosts: ['/tmp/$', '{HOME}'].join('') },
  ])('refuses %j', (change) => {
    expect(() => sshArguments({ ...base, ...change })).toThrow(expect.objectContaining({ code: 'usage' }));
  });

  it('writes the host key under the alias', () => {
    expect(knownHostsLine('amber-fox', 'ssh-ed25519 AAAA')).toBe('castellan-amber-fox ssh-ed25519 AAAA\n');
  });
});
