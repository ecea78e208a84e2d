import { closeSync, openSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { confine } from '../../src/launch/confine.ts';
import { createLauncher, type LaunchIo } from '../../src/launch/launch.ts';
import { endProcesses, type RunningProcess } from '../../src/launch/process.ts';
import { AGENT_UID, isRoot, LAUNCHER, makeCell, type TestCell } from '../fakes/cell.ts';

describe.skipIf(!isRoot)('launches (needs root)', () => {
  let world: TestCell;
  let running: RunningProcess[];
  beforeEach(() => {
    world = makeCell();
    running = [];
  });
  afterEach(async () => {
    await endProcesses(running, { graceMs: 0 });
    world[Symbol.dispose]();
  });

  async function launch(script: string, io: LaunchIo = { kind: 'pipes' }) {
    const terminal = io.kind === 'pty' ? 'vt100' : undefined;
    const spec = confine(world.cell, { argv: ['/bin/sh', '-c', script], terminal });
    const purpose = { kind: 'exec', sessionId: 'test', identity: world.cell.identity } as const;
    const process = await world.launcher.launch(spec, io, purpose);
    running.push(process);
    return process;
  }

  async function run(script: string) {
    const process = await launch(script);
    if (process.io.kind !== 'pipes') throw new Error('no pipes');
    process.io.stdin.end();
    const [stdout, stderr, status] = await Promise.all([
      text(process.io.stdout),
      text(process.io.stderr),
      process.exited,
    ]);
    return { stdout, stderr, status };
  }

  async function runOnTerminal(script: string, size = { columns: 80, rows: 24 }) {
    const process = await launch(script, { kind: 'pty', ...size });
    if (process.io.kind !== 'terminal') throw new Error('no terminal');
    const { io } = process;
    return { process, io };
  }

  it('runs the command as the agent, confined, in its directory, with nothing inherited', async () => {
    const { stdout, stderr } = await run(
      'id -u; id -g; id -G; pwd; env | sort | head -1; ls /proc/self/fd | wc -l; grep -E "^(NoNewPrivs|Seccomp|CapEff|CapBnd|CapAmb):" /proc/self/status',
    );
    expect(stderr).toBe('');
    const lines = stdout.trimEnd().split('\n');
    expect(lines.slice(0, 5)).toEqual([
      `${AGENT_UID}`,
      `${AGENT_UID}`,
      `${AGENT_UID}`,
      world.work,
      'CASTELLAN=1',
    ]);
    // Three streams, and the directory that ls reads.
    expect(lines[5]).toBe('4');
    expect(lines.slice(6).map((line) => line.replaceAll(/\s+/g, ' '))).toEqual([
      'CapEff: 0000000000000000',
      'CapBnd: 0000000000000000',
      'CapAmb: 0000000000000000',
      'NoNewPrivs: 1',
      'Seccomp: 2',
    ]);
  });

  it('lets Landlock refuse what file modes allow', async () => {
    const secret = join(world.directory, 'secret');
    writeFileSync(secret, 'x', { mode: 0o644 });
    const { stderr, status } = await run(`cat ${secret}`);
    expect(stderr).toContain('Permission denied');
    expect(status.exitCode).toBe(1);
  });

  it.each([
    { script: 'exit 7', want: { exitCode: 7, signal: undefined } },
    { script: 'kill -TERM $$', want: { exitCode: 143, signal: 'SIGTERM' } },
  ])('tells how "$script" ended, to the caller and on record', async ({ script, want }) => {
    const { status } = await run(script);
    expect(status).toEqual(want);
    const launched = await world.fact('process-launched');
    expect(await world.fact('process-exited')).toMatchObject({ process: launched.process, ...want });
    expect(launched.process).toMatchObject({
      uid: AGENT_UID,
      gid: AGENT_UID,
      kind: 'exec',
      sessionId: 'test',
    });
  });

  it('gives streams that can be opened again by name', async () => {
    expect(await run('echo out > /dev/stdout; echo err > /dev/stderr; cat < /dev/stdin')).toMatchObject({
      stdout: 'out\n',
      stderr: 'err\n',
    });
  });

  it('hands bytes through unchanged, both ways at once', async () => {
    const input = Buffer.alloc(20_000_000, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));
    const process = await launch('cat');
    if (process.io.kind !== 'pipes') throw new Error('no pipes');
    process.io.stdin.end(input);
    const output = await buffer(process.io.stdout);
    expect(output.equals(input)).toBe(true);
    expect(await process.exited).toMatchObject({ exitCode: 0 });
  });

  it.each([
    {
      name: 'a command that is missing',
      argv: ['/usr/bin/no-such-command'],
      code: 'command_not_found',
      errno: 'ENOENT',
    },
    {
      name: 'a name that PATH does not have',
      argv: ['no-such-command'],
      code: 'command_not_found',
      errno: 'ENOENT',
    },
    {
      name: 'a file that is no program',
      argv: ['/etc/passwd'],
      code: 'command_not_executable',
      errno: 'EACCES',
    },
    { name: 'a directory', argv: ['/usr'], code: 'command_not_executable', errno: 'EACCES' },
  ])('refuses $name', async ({ argv, code, errno }) => {
    const purpose = { kind: 'main', sessionId: 'main', identity: world.cell.identity } as const;
    const launched = world.launcher.launch(confine(world.cell, { argv }), { kind: 'pipes' }, purpose);
    await expect(launched).rejects.toMatchObject({ code, errno, step: 'launch/execute' });
    expect(world.facts).toEqual([
      expect.objectContaining({
        kind: 'launch-refused',
        argv,
        sessionId: 'main',
        step: 'launch/execute',
        errno,
      }),
    ]);
  });

  it.each(['pipes', 'pty'] as const)('names the step that failed, with %s', async (kind) => {
    const io = kind === 'pty' ? ({ kind, columns: 80, rows: 24 } as const) : ({ kind } as const);
    const spec = confine(world.cell, {
      argv: ['/bin/true'],
      workingDirectory: '/no/such/directory',
      terminal: kind === 'pty' ? 'vt100' : undefined,
    });
    await expect(world.launcher.launch(spec, io)).rejects.toMatchObject({
      code: 'launch_failed',
      step: 'launch/directory',
      errno: 'ENOENT',
    });
  });

  it('says what is missing where the launcher is', async () => {
    const launcher = createLauncher({
      launcherPath: join(world.directory, 'none'),
      runDirectory: world.runDirectory,
      report: world.report,
    });
    await expect(
      launcher.launch(confine(world.cell, { argv: ['/bin/true'] }), { kind: 'inherit' }),
    ).rejects.toMatchObject({ code: 'install_incomplete' });
  });

  it('begins nothing while its record finds no room', async () => {
    const room = Promise.withResolvers<void>();
    let hasRoom = false;
    const seen: boolean[] = [];
    const launcher = createLauncher({
      launcherPath: LAUNCHER,
      runDirectory: world.runDirectory,
      report: () => seen.push(hasRoom),
      congestion: () => (hasRoom ? undefined : room.promise),
    });
    const purpose = { kind: 'exec', sessionId: 's', identity: world.cell.identity } as const;
    const spec = confine(world.cell, { argv: ['/bin/true'] });
    const held = launcher.launch(spec, { kind: 'pipes' }, purpose);
    // One that does not wait for room comes to its end while the other waits.
    await (await world.launcher.launch(spec, { kind: 'pipes' })).exited;
    hasRoom = true;
    room.resolve();
    await (await held).exited;
    await expect.poll(() => seen).toEqual([true, true]);
  });

  it('fails at once, not at the deadline, when the launcher dies without a word', async () => {
    const launcher = createLauncher({
      launcherPath: '/bin/true',
      runDirectory: world.runDirectory,
      report: world.report,
    });
    const began = performance.now();
    await expect(
      launcher.launch(confine(world.cell, { argv: ['/bin/true'] }), { kind: 'inherit' }),
    ).rejects.toMatchObject({ code: 'launch_failed' });
    expect(performance.now() - began).toBeLessThan(5000);
  });

  it('an abort ends a launcher that hangs, at once', async () => {
    const hanging = join(world.directory, 'hanging');
    writeFileSync(hanging, '#!/bin/sh\nexec sleep 1008\n', { mode: 0o755 });
    const launcher = createLauncher({
      launcherPath: hanging,
      runDirectory: world.runDirectory,
      report: world.report,
    });
    const began = performance.now();
    const abort = new AbortController();
    const spec = confine(world.cell, { argv: ['/bin/true'] });
    const launched = launcher.launch(spec, { kind: 'pipes' }, undefined, { signal: abort.signal });
    const refused = expect(launched).rejects.toMatchObject({ code: 'launch_failed' });
    await expect.poll(() => readdirSync(join(world.runDirectory, 'launch')).length).toBe(1);
    abort.abort();
    await refused;
    expect(performance.now() - began).toBeLessThan(5000);
    const later = launcher.launch(spec, { kind: 'pipes' }, undefined, { signal: abort.signal });
    await expect(later).rejects.toMatchObject({ code: 'launch_failed' });
  });

  it('leaves no socket and no descriptor behind', async () => {
    await run('true');
    const terminal = await runOnTerminal('true');
    await text(terminal.io.stream);
    const before = readdirSync('/proc/self/fd').length;
    await run('true');
    await world.launcher.launch(confine(world.cell, { argv: ['/none'] }), { kind: 'pipes' }).catch(() => {});
    const next = await runOnTerminal('true');
    await text(next.io.stream);
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBe(before);
    expect(readdirSync(join(world.runDirectory, 'launch'))).toEqual([]);
  });

  it('finds a bare name in the PATH of the command', async () => {
    const process = await world.launcher.launch(confine(world.cell, { argv: ['true'] }), { kind: 'inherit' });
    expect(await process.exited).toEqual({ exitCode: 0, signal: undefined });
  });

  it('runs with the streams of the supervisor', async () => {
    const process = await launch('exit 3', { kind: 'inherit' });
    expect(await process.exited).toEqual({ exitCode: 3, signal: undefined });
  });

  it('joins the namespace of the cell', async () => {
    const descriptor = openSync('/proc/self/ns/net', 'r');
    try {
      world[Symbol.dispose]();
      world = makeCell({ namespaces: { user: undefined, network: descriptor } });
      const { stdout } = await run('readlink /proc/self/ns/net');
      expect(stdout.trim()).toBe(readlinkSync('/proc/self/ns/net'));
    } finally {
      closeSync(descriptor);
    }
  });

  describe('on a terminal', () => {
    it('leads a session on a terminal that is its own', async () => {
      const { io } = await runOnTerminal(
        'tty; stat -c %u $(tty); stty size; echo $TERM; ps -o sid= -p $$ | tr -d " "; echo $$; echo there > /dev/tty',
        {
          columns: 132,
          rows: 43,
        },
      );
      const lines = (await text(io.stream)).split('\r\n');
      expect(lines[0]).toMatch(/^\/dev\/pts\/\d+$/);
      expect(lines.slice(1, 4)).toEqual([`${AGENT_UID}`, '43 132', 'vt100']);
      expect(lines[4]).toBe(lines[5]);
      expect(lines[6]).toBe('there');
    });

    it('learns of a new size', async () => {
      const { io } = await runOnTerminal(
        'trap "stty size; exit 0" WINCH; echo ready; while :; do sleep 0.05; done',
      );
      let seen = '';
      for await (const chunk of io.stream) {
        seen += chunk;
        if (seen === 'ready\r\n') io.resize({ columns: 100, rows: 31 });
      }
      expect(seen).toBe('ready\r\n31 100\r\n');
    });

    it('takes input and gives back all output, however late it is read', async () => {
      const { io, process } = await runOnTerminal('stty raw -echo; echo ready; head -c 300000');
      const input = Buffer.alloc(300_000, 'abcdefg');
      let output = Buffer.alloc(0);
      for await (const chunk of io.stream) {
        if (output.length === 0) io.stream.write(input);
        output = Buffer.concat([output, chunk]);
      }
      expect(output.equals(Buffer.concat([Buffer.from('ready\n'), input]))).toBe(true);
      expect(await process.exited).toMatchObject({ exitCode: 0 });
    });

    it('keeps the last words of a process until somebody reads them', async () => {
      const { io, process } = await runOnTerminal('head -c 3000 /dev/zero | tr "\\0" x');
      await process.exited;
      expect(await text(io.stream)).toBe('x'.repeat(3000));
    });

    it('is over with its leader, although a background process holds it', async () => {
      const { io, process } = await runOnTerminal('trap "" HUP; sleep 1000 & echo $!');
      const pid = Number(await text(io.stream));
      expect(await process.exited).toMatchObject({ exitCode: 0 });
      expect(statSync(`/proc/${pid}`).uid).toBe(AGENT_UID);
      globalThis.process.kill(pid, 'SIGKILL');
    });

    it('hangs up when the stream is destroyed', async () => {
      const { io, process } = await runOnTerminal('echo ready; read -r _');
      for await (const _ of io.stream) break;
      expect(await process.exited).toMatchObject({ signal: 'SIGHUP' });
    });
  });

  it('ends whole groups: with TERM what takes it, with KILL what does not', async () => {
    const kind = await launch('sleep 1000 & wait');
    const stubborn = await launch('trap "" TERM HUP; sleep 1000 & echo ready; while :; do wait; done');
    const shell = await runOnTerminal('trap "" TERM; echo ready; read -r _');
    if (stubborn.io.kind !== 'pipes') throw new Error('no pipes');
    for await (const _ of stubborn.io.stdout) break;
    for await (const _ of shell.io.stream.iterator({ destroyOnReturn: false })) break;
    await endProcesses(running, { graceMs: 300 });
    expect(
      await Promise.all([kind, stubborn, shell.process].map(async ({ exited }) => (await exited).signal)),
    ).toEqual(['SIGTERM', 'SIGKILL', 'SIGHUP']);
  });
});
