import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { spawn as spawnTerminal } from 'node-pty';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startSshServer } from '../../src/session/ssh/server.ts';
import { AGENT_UID, isRoot } from '../fakes/cell.ts';
import { makeSshWorld, type SshWorld } from '../fakes/ssh-world.ts';

const PATTERN = Buffer.from(Array.from({ length: 251 }, (_, i) => i));
const LARGE = Buffer.alloc(20_000_000, PATTERN);

describe.skipIf(!isRoot)('SSH into a sandbox (needs root)', () => {
  let world: SshWorld;
  beforeEach(async () => {
    world = await makeSshWorld();
  });
  afterEach(() => world[Symbol.asyncDispose]());

  it('runs a command as the agent, confined like it, and says how it ended', async () => {
    const { code, stdout, stderr } = await world.run(
      'id -u; pwd; grep -E "^(NoNewPrivs|Seccomp|CapEff):" /proc/self/status; echo no >&2; exit 42',
    );
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.replaceAll(/\s+/g, ' ')),
    ).toEqual([`${AGENT_UID}`, world.cell.work, 'CapEff: 0000000000000000', 'NoNewPrivs: 1', 'Seccomp: 2']);
    expect(stderr).toBe('no\n');
    expect(code).toBe(42);
  });

  it('keeps the run directory, and with it its own socket, out of sight', async () => {
    const { stdout, code } = await world.run(`ls -A ${world.cell.runDirectory}; cat ${world.socketPath}`);
    expect(stdout).toBe('');
    expect(code).not.toBe(0);
  });

  it('reports who came, what ran and when it was over', async () => {
    await world.run('exit 3');
    await world.cell.fact('ssh-closed');
    expect(world.cell.facts.map(({ kind }) => kind)).toEqual([
      'ssh-listening',
      'ssh-opened',
      'process-launched',
      'process-exited',
      'ssh-closed',
    ]);
    expect(world.cell.facts[1]).toMatchObject({ sessionId: 'ssh-1', peer: { uid: 0, gid: 0 } });
    expect(world.cell.facts[2]).toMatchObject({
      process: { sessionId: 'ssh-1.1', kind: 'exec', argv: ['/bin/bash', '-c', 'exit 3'] },
    });
    expect(world.cell.facts[3]).toMatchObject({ exitCode: 3 });
  });

  it('tells a signal that ended the command', async () => {
    const { code } = await world.run('kill -TERM $$');
    // OpenSSH's client says 255 for every signal.
    expect(code).toBe(255);
    expect(await world.cell.fact('process-exited')).toMatchObject({ signal: 'SIGTERM', exitCode: 143 });
  });

  it('carries 20 MB each way at once without changing a byte', async () => {
    const { bytes, code } = await world.run('cat', { input: LARGE });
    expect(bytes.equals(LARGE)).toBe(true);
    expect(code).toBe(0);
  });

  it('carries both outputs when both wait for the client', async () => {
    const child = world.ssh([
      'for i in 1 2 3 4; do head -c 3000000 /dev/zero | tr "\\0" o; head -c 3000000 /dev/zero | tr "\\0" e >&2; done',
    ]);
    child.stdin.end();
    const stdout = text(child.stdout);
    const stderr = text(child.stderr);
    expect(await stdout).toBe('o'.repeat(12_000_000));
    expect(await stderr).toBe('e'.repeat(12_000_000));
  });

  it('tells the command that there is no more input', async () => {
    expect(await world.run('cat; echo over', { input: 'all of it\n' })).toMatchObject({
      stdout: 'all of it\nover\n',
      code: 0,
    });
  });

  it('does not wait for input that a command leaves unread', async () => {
    expect(await world.run('exec 0<&-; echo done; exit 5', { input: LARGE })).toMatchObject({
      stdout: 'done\n',
      code: 5,
    });
  });

  it('gives a shell without a terminal when none was asked for', async () => {
    const child = world.ssh([], ['-T']);
    child.stdin.end('shopt -q login_shell && echo login; [ -t 0 ] || echo pipe; echo $SHELL; exit 9\n');
    const [stdout, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
    expect(stdout).toBe('login\npipe\n/bin/bash\n');
    expect(code).toBe(9);
    expect(await world.cell.fact('process-launched')).toMatchObject({
      process: { kind: 'shell', argv: ['/bin/bash', '-l'] },
    });
  });

  it('gives output that can be opened again by name', async () => {
    expect(await world.run('echo a > /dev/stdout; echo b > /dev/stderr')).toMatchObject({
      stdout: 'a\n',
      stderr: 'b\n',
      code: 0,
    });
  });

  it('lets a client set what is harmless or allowed, and nothing else', async () => {
    const { stdout } = await world.run('env', {
      options: [
        '-o',
        'SetEnv=LANG=de_DE.UTF-8 TEST_ALLOWED=yes OTHER=no LD_PRELOAD=/x PATH=/evil HTTPS_PROXY=x',
      ],
    });
    const lines = stdout.split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        'LANG=de_DE.UTF-8',
        'TEST_ALLOWED=yes',
        'CASTELLAN=1',
        `HOME=${world.cell.work}`,
      ]),
    );
    expect(stdout).not.toMatch(/OTHER|LD_PRELOAD|evil|HTTPS_PROXY|TERM=/);
  });

  it('serves several sessions over one connection', async () => {
    const control = join(world.cell.directory, 'control');
    const options = (extra: string) => ['-o', `ControlPath=${control}`, '-o', extra];
    const master = world.ssh(['echo ready; cat'], options('ControlMaster=yes'));
    await once(master.stdout, 'data');
    const outputs = await Promise.all(
      ['a', 'b', 'c'].map((word) => world.run(`echo ${word}`, { options: options('ControlMaster=no') })),
    );
    expect(outputs.map(({ stdout }) => stdout)).toEqual(['a\n', 'b\n', 'c\n']);
    master.stdin.end();
    await once(master, 'exit');
    const ids = world.cell.facts.flatMap((fact) =>
      fact.kind === 'process-launched' ? [fact.process.sessionId] : [],
    );
    expect(ids.sort()).toEqual(['ssh-1.1', 'ssh-1.2', 'ssh-1.3', 'ssh-1.4']);
  });

  it.each([
    {
      what: 'another subsystem',
      options: ['-s'],
      command: 'other',
      reason: 'subsystem other is not offered',
    },
    {
      what: 'remote forwarding',
      options: ['-o', 'ExitOnForwardFailure=yes', '-R', '9999:127.0.0.1:22'],
      command: 'true',
      reason: 'request tcpip-forward is not offered',
    },
  ])('refuses $what, on record', async ({ options, command, reason }) => {
    const { code } = await world.run(command, { options });
    expect(code).toBe(255);
    expect(await world.cell.fact('ssh-refused')).toMatchObject({ reason, peer: { uid: 0 } });
    expect(world.cell.facts.some(({ kind }) => kind === 'process-launched')).toBe(false);
  });

  it('tells the client when the launch fails', async () => {
    await using broken = await makeSshWorld({ workingDirectory: '/no/such/directory' });
    expect(await broken.run('true')).toMatchObject({
      code: 107,
      stdout: '',
      stderr: expect.stringMatching(/^castellan: .*ENOENT/),
    });
    expect(await broken.cell.fact('launch-refused')).toMatchObject({
      sessionId: 'ssh-1.1',
      step: 'launch/directory',
    });
  });

  describe('when the client goes away', () => {
    it.each([
      { what: 'a quiet command', command: 'echo $$; sleep 1000 & wait', signal: 'SIGHUP' },
      {
        what: 'one that ignores it',
        command: 'trap "" HUP TERM PIPE; echo $$; while :; do sleep 1000; done',
        signal: 'SIGKILL',
      },
      { what: 'one that nobody listened to', command: 'echo $$; yes', signal: undefined },
    ])('ends $what and its group', async ({ command, signal }) => {
      const child = world.ssh([command]);
      const [line] = await once(child.stdout, 'data');
      const group = Number.parseInt(String(line), 10);
      child.kill('SIGKILL');
      const exited = await world.cell.fact('process-exited');
      expect(exited.process.pid).toBe(group);
      if (signal !== undefined) expect(exited.signal).toBe(signal);
      await world.cell.fact('ssh-closed');
      await expect.poll(() => members(group)).toEqual([]);
    });

    it('ends a command that does not read what was sent', async () => {
      const child = world.ssh(['echo ready; sleep 1000']);
      await once(child.stdout, 'data');
      child.stdin.write(LARGE);
      child.kill('SIGKILL');
      expect(await world.cell.fact('process-exited')).toMatchObject({ signal: 'SIGHUP' });
      await world.cell.fact('ssh-closed');
    });
  });

  it('ends the sessions when it closes', async () => {
    const child = world.ssh(['echo ready; sleep 1000']);
    await once(child.stdout, 'data');
    const ended = once(child, 'exit');
    await world.server.close();
    expect(await world.cell.fact('process-exited')).toMatchObject({ signal: 'SIGHUP' });
    expect((await ended)[0]).toBe(255);
    expect(existsSync(world.socketPath)).toBe(false);
  });

  describe('on a terminal', () => {
    it('has the size of the client, follows it, and says how the shell ended', async () => {
      const env = { PATH: process.env['PATH'], TERM: 'screen-256color' };
      const local = spawnTerminal('ssh', world.arguments([]), { cols: 132, rows: 43, env });
      let seen = '';
      const { promise: ended, resolve } = Promise.withResolvers<number>();
      local.onExit(({ exitCode }) => resolve(exitCode));
      const until = (words: string) => expect.poll(() => seen, { timeout: 10_000 }).toContain(words);
      local.onData((data) => {
        seen += data;
      });
      local.write('PS1=; echo "[$(stty size) $TERM $(tty)]"\r');
      await until('[43 132 screen-256color /dev/pts/');
      local.resize(100, 31);
      await expect
        .poll(() => {
          local.write('echo "<$(stty size)>"\r');
          return seen;
        })
        .toContain('<31 100>');
      // Ctrl-C reaches the foreground command, not the shell.
      local.write('echo began; sleep 1000\r');
      await until('\rbegan');
      local.write('\x03');
      local.write('echo status=$?\r');
      await until('status=130');
      local.write('exit 6\r');
      expect(await ended).toBe(6);
    });

    it('is forced for a command, and ends with the input', async () => {
      const { stdout, code } = await world.run(
        '[ -t 0 ] && [ -t 2 ] && echo tty; stty -echo; cat; echo over',
        { input: 'line\nrest', options: ['-tt'] },
      );
      expect(stdout.replaceAll('\r\n', '\n')).toMatch(/tty\n.*line\nrestover\n$/s);
      expect(code).toBe(0);
    });

    it('hangs up on the shell and what it runs when the client dies', async () => {
      const child = world.ssh([], ['-tt']);
      child.stdin.write('PS1=; stty -echo\nsh -c \'echo "job=$$."; exec sleep 1000\'\n');
      let seen = '';
      for await (const chunk of child.stdout) {
        seen += chunk;
        if (/job=\d+\./.test(seen)) break;
      }
      const job = /job=(\d+)\./.exec(seen)?.[1] ?? '';
      expect(groupOf(job)).toBe(Number(job));
      child.kill('SIGKILL');
      await world.cell.fact('ssh-closed');
      await expect.poll(() => groupOf(job)).toBeUndefined();
    });
  });

  describe('the socket', () => {
    it('is for its owner only', () => {
      expect(statSync(world.socketPath).mode & 0o777).toBe(0o600);
    });

    it('is not taken from one that is served, nor from another kind of file', async () => {
      const at = (path: string) => ({ kind: 'path', path }) as const;
      const options = {
        launcher: world.cell.launcher,
        cell: world.cell.cell,
        allowedUids: [0],
        environmentAllowList: [],
        report: world.cell.report,
      };
      await expect(startSshServer({ ...options, addresses: [at(world.socketPath)] })).rejects.toMatchObject({
        code: 'address_in_use',
        object: world.socketPath,
      });
      const file = join(world.cell.runDirectory, 'file');
      writeFileSync(file, 'kept');
      await expect(startSshServer({ ...options, addresses: [at(file)] })).rejects.toMatchObject({
        code: 'address_in_use',
      });
      expect(readFileSync(file, 'utf8')).toBe('kept');
      expect(await world.run('echo still here')).toMatchObject({ stdout: 'still here\n' });
    });

    it('may have an abstract name besides, which one server has at a time', async () => {
      const address = { kind: 'abstract', name: `castellan-test-${process.pid}` } as const;
      const options = {
        launcher: world.cell.launcher,
        cell: world.cell.cell,
        allowedUids: [0],
        environmentAllowList: [],
        report: world.cell.report,
      };
      const path = join(world.cell.runDirectory, 'second.sock');
      {
        await using _server = await startSshServer({
          ...options,
          addresses: [{ kind: 'path', path }, address],
        });
        const socket = connect({ path: `\0${address.name}` });
        const [hello] = await once(socket, 'data');
        expect(String(hello)).toContain('SSH-2.0');
        socket.destroy();
        const other = startSshServer({
          ...options,
          addresses: [{ kind: 'path', path: `${path}2` }, address],
        });
        await expect(other).rejects.toMatchObject({ code: 'address_in_use', object: `@${address.name}` });
        expect(statSync(path).isSocket()).toBe(true);
      }
      const gone = connect({ path: `\0${address.name}` });
      expect((await once(gone, 'error'))[0]).toMatchObject({ code: 'ECONNREFUSED' });
    });

    it('survives clients that talk nonsense or nothing', async () => {
      for (const bytes of [
        '',
        'GET / HTTP/1.1\r\n\r\n',
        `SSH-2.0-x\r\n${'\0'.repeat(64)}`,
        `SSH-2.0-x\r\n${'\xff'.repeat(70_000)}`,
      ]) {
        const socket = connect(world.socketPath);
        socket.on('error', () => {});
        await once(socket, 'connect');
        socket.end(Buffer.from(bytes, 'latin1'));
        socket.resume();
        await once(socket, 'close');
      }
      expect(await world.run('echo still here')).toMatchObject({ stdout: 'still here\n' });
    });
  });
});

/** Living processes of a group: field 5 of /proc/pid/stat, see proc_pid_stat(5). */
function members(group: number): string[] {
  return readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && groupOf(entry) === group);
}

function groupOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : Number(fields[2]);
  } catch {
    return undefined;
  }
}
