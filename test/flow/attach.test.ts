import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type IPty, spawn as spawnTerminal } from 'node-pty';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { confine } from '../../src/launch/confine.ts';
import type { RunningProcess } from '../../src/launch/process.ts';
import { createMainConsole, type MainConsole } from '../../src/session/main-console.ts';
import { isRoot } from '../fakes/cell.ts';
import { makeSshWorld, type SshClient, type SshWorld } from '../fakes/ssh-world.ts';

const DETACH = '\x10\x11';

describe.skipIf(!isRoot)('attaching to the main process (needs root)', () => {
  let mainConsole: MainConsole;
  let world: SshWorld;
  const terminals: IPty[] = [];
  const processes: RunningProcess[] = [];
  beforeEach(async () => {
    mainConsole = createMainConsole();
    world = await makeSshWorld({}, { mainConsole });
  });
  afterEach(async () => {
    for (const terminal of terminals.splice(0)) terminal.kill('SIGKILL');
    for (const process of processes.splice(0)) process.signal('SIGKILL');
    await world[Symbol.asyncDispose]();
  });

  /** The main process, on a terminal of 80×24 or on pipes, with what castellan itself would print of it. */
  async function start(script: string, kind: 'pty' | 'pipes' = 'pipes') {
    const { launcher, cell } = world.cell;
    const argv = ['/bin/bash', '-c', script];
    const spec = confine(cell, { argv, terminal: kind === 'pty' ? 'xterm' : undefined });
    const io = kind === 'pty' ? { kind, columns: 80, rows: 24 } : { kind };
    const process = await launcher.launch(spec, io, {
      kind: 'main',
      sessionId: 'main',
      identity: cell.identity,
    });
    processes.push(process);
    const own = { stdout: new PassThrough(), stderr: new PassThrough() };
    const ended = mainConsole.hold(process, own);
    return { process, ended, stdout: text(own.stdout), stderr: text(own.stderr), own };
  }

  /** A client without a terminal. */
  const attach = (...words: string[]) => watch(world.ssh(['castellan-main', ...words], ['-s']));

  function watch(child: SshClient) {
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    return {
      child,
      out: () => out,
      err: () => err,
      until: (words: string) => expect.poll(() => out + err, { timeout: 10_000 }).toContain(words),
      ended: once(child, 'close').then(([code]) => code as number),
    };
  }

  /** A person at a terminal. */
  function attachTerminal(size = { cols: 101, rows: 33 }, words: readonly string[] = []) {
    const argv = world.arguments(['castellan-main', ...words], ['-tt', '-s']);
    const terminal = spawnTerminal('ssh', argv, {
      ...size,
      env: { PATH: process.env['PATH'], TERM: 'xterm' },
    });
    terminals.push(terminal);
    let seen = '';
    terminal.onData((data) => (seen += data));
    const ended = new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
    return {
      terminal,
      ended,
      seen: () => seen,
      until: (words: string) => expect.poll(() => seen, { timeout: 10_000 }).toContain(words),
    };
  }

  it('replays, takes input, keeps the outputs apart and delivers the exit code, to the client and to castellan', async () => {
    const main = await start('echo early; echo wrong >&2; read -r line; echo "got $line"; exit 7');
    const client = attach();
    await client.until('early');
    client.child.stdin.write('words\n');
    expect(await client.ended).toBe(7);
    expect(client.out()).toBe('early\ngot words\n');
    expect(client.err()).toBe('wrong\n');
    expect(await main.ended).toEqual({ exitCode: 7, signal: undefined });
    main.own.stdout.end();
    main.own.stderr.end();
    expect(await main.stdout).toBe('early\ngot words\n');
    expect(await main.stderr).toBe('wrong\n');
    expect(await world.cell.fact('ssh-attached')).toMatchObject({ sessionId: 'ssh-1.1', readOnly: false });
    expect(await world.cell.fact('ssh-detached')).toMatchObject({ sessionId: 'ssh-1.1', reason: 'exited' });
  });

  it('answers to the other name too, and to nothing that only looks like it', async () => {
    await start('echo here; read -r _');
    const client = watch(world.ssh(['openshell-main'], ['-s']));
    await client.until('here');
    for (const name of ['castellan-main read-write', 'castellan-main  read-only', 'castellan-mainx']) {
      expect((await world.run(name, { options: ['-s'] })).code).toBe(255);
      await world.cell.fact('ssh-refused', ({ reason }) => reason === `subsystem ${name} is not offered`);
    }
    client.child.stdin.write('\n');
    expect(await client.ended).toBe(0);
  });

  it('tells a signal that ended the process', async () => {
    const main = await start('echo up; kill -TERM $$');
    expect((await main.ended).signal).toBe('SIGTERM');
  });

  it('gives the input to the first, tells the others, and frees it when its holder is gone without a word', async () => {
    await start('echo up; while read -r line; do echo "<$line>"; done');
    const first = attach();
    await first.until('up');
    const second = attach();
    await second.until('read-only: somebody else has the input');
    second.child.stdin.write('from the second\n');
    first.child.stdin.write('from the first\n');
    await second.until('<from the first>');
    first.child.kill('SIGKILL');
    await world.cell.fact('ssh-detached', ({ reason }) => reason === 'gone');
    const third = attach();
    third.child.stdin.write('from the third\n');
    await third.until('<from the third>');
    expect(second.out()).not.toContain('from the second');
    // The second one's own end frees nothing that is another's.
    second.child.kill('SIGKILL');
    third.child.stdin.write('again\n');
    await third.until('<again>');
  });

  it('frees the input although the process leaves much of it unread', async () => {
    await start('echo up; exec sleep 1000');
    const first = attach();
    await first.until('up');
    first.child.stdin.write(Buffer.alloc(20_000_000, 'x'));
    first.child.kill('SIGKILL');
    await world.cell.fact('ssh-detached', ({ reason }) => reason === 'gone');
    const second = attach();
    await second.until('up');
    expect(await world.cell.fact('ssh-attached', ({ sessionId }) => sessionId === 'ssh-2.1')).toMatchObject({
      readOnly: false,
    });
  });

  it('gives the input back when a client has no more, and leaves the process its input', async () => {
    await start('echo up; while read -r line; do echo "<$line>"; done; echo over');
    const first = attach();
    first.child.stdin.end('one\n');
    await first.until('<one>');
    const second = attach();
    second.child.stdin.write('two\n');
    await second.until('<two>');
    expect(second.err()).toBe('');
    await first.until('<two>');
    expect(first.out()).not.toContain('over');
  });

  it('leaves the input alone when asked to', async () => {
    await start('echo up; read -r line; echo "<$line>"');
    const watcher = attach('read-only');
    await watcher.until('attached read-only\r\n');
    const worker = attach();
    watcher.child.stdin.write('mine\n');
    await worker.until('up');
    worker.child.stdin.write('yours\n');
    await watcher.until('<yours>');
    const facts = world.cell.facts.flatMap((fact) => (fact.kind === 'ssh-attached' ? [fact.readOnly] : []));
    expect(facts).toEqual([true, false]);
  });

  it('applies the size of who has the input, from the first moment on, and of nobody else', async () => {
    await start('stty -echo; echo up; while read -r line; do echo "<$(stty size)>"; done', 'pty');
    const first = attachTerminal();
    await first.until('up');
    first.terminal.write('\r');
    await first.until('<33 101>');
    const second = attachTerminal({ cols: 20, rows: 10 });
    await second.until('read-only');
    second.terminal.resize(25, 15);
    first.terminal.resize(90, 40);
    await expect
      .poll(() => {
        first.terminal.write('\r');
        return first.seen();
      })
      .toContain('<40 90>');
    expect(first.seen()).not.toMatch(/<1[05] /);
    // Without a terminal of its own, a client leaves the size as it is.
    first.terminal.kill('SIGKILL');
    await world.cell.fact('ssh-detached');
    const third = attach();
    third.child.stdin.write('\n');
    await expect.poll(() => third.out().match(/<40 90>/g)?.length ?? 0).toBeGreaterThan(1);
    await expect.poll(() => third.out()).toMatch(/<40 90>\r\n$/);
  });

  it.each([
    ['in one packet', [DETACH]],
    ['in two packets', ['\x10', '\x11']],
    ['after another Ctrl-P', ['\x10', '\x10', '\x11']],
  ])('detaches by Ctrl-P Ctrl-Q, %s, and leaves the process running', async (_, packets) => {
    const main = await start('stty -echo raw; echo up; exec cat', 'pty');
    const first = attachTerminal();
    await first.until('up');
    for (const packet of packets) {
      first.terminal.write(packet);
      // Another packet only when this one has gone: the client forwards what it has read.
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await first.ended).toBe(0);
    await first.until('detached; the main process goes on');
    expect(await world.cell.fact('ssh-detached')).toMatchObject({ reason: 'keys' });
    const second = attachTerminal();
    await second.until('attached; Ctrl-P Ctrl-Q detaches');
    second.terminal.write('a\x10b');
    await expect.poll(() => second.seen()).toContain('a\x10b');
    main.process.signal('SIGTERM');
    expect((await main.ended).signal).toBe('SIGTERM');
  });

  it('lets who may only read detach too', async () => {
    await start('echo up; exec sleep 1000', 'pty');
    const client = attachTerminal(undefined, ['read-only']);
    await client.until('up');
    client.terminal.write(DETACH);
    expect(await client.ended).toBe(0);
  });

  it('closes who does not read, with a message, while the process and the others go on', async () => {
    const size = 24 * 1024 * 1024;
    await start(`echo up; read -r _; head -c ${size} /dev/zero | tr '\\0' x; echo; echo done; read -r _`);
    const quick = attach();
    await quick.until('up');
    const stopped = attach('read-only');
    await stopped.until('up');
    stopped.child.kill('SIGSTOP');
    quick.child.stdin.write('\n');
    expect(await world.cell.fact('ssh-detached')).toMatchObject({ reason: 'lagged' });
    stopped.child.kill('SIGCONT');
    expect(await stopped.ended).toBe(114);
    expect(stopped.err()).toContain('detached: this client does not take the output fast enough');
    await expect.poll(() => quick.out().length, { timeout: 20_000 }).toBe('up\n\ndone\n'.length + size);
    expect(quick.out().endsWith('x\ndone\n')).toBe(true);
  });

  it('says why there is nothing to attach to', async () => {
    expect(await world.run('castellan-main', { options: ['-s'] })).toMatchObject({
      code: 111,
      stderr: 'castellan: the main process has not started yet\r\n',
    });
    await using other = await makeSshWorld();
    expect(await other.run('castellan-main', { options: ['-s'] })).toMatchObject({
      code: 111,
      stderr: expect.stringContaining('castellan run --retain'),
    });
    expect(await other.cell.fact('ssh-refused')).toMatchObject({ sessionId: 'ssh-1.1' });
  });

  it('ends with the process although a daemon holds its output', async () => {
    const main = await start('(trap "" HUP; exec sleep 30) & echo up; exit 3');
    expect((await main.ended).exitCode).toBe(3);
    main.own.stdout.end();
    expect(await main.stdout).toBe('up\n');
  });

  it('lets many watch, within a limit', async () => {
    await start('echo up; exec sleep 1000');
    const control = ['-o', `ControlPath=${world.cell.directory}/control`];
    const master = watch(world.ssh(['castellan-main'], ['-s', '-o', 'ControlMaster=yes', ...control]));
    await master.until('up');
    const others = Array.from({ length: 31 }, () =>
      watch(world.ssh(['castellan-main'], ['-s', '-o', 'ControlMaster=no', ...control])),
    );
    for (const other of others) await other.until('up');
    const one = attach();
    expect(await one.ended).toBe(111);
    expect(one.err()).toContain('32 are attached already');
  });
});
