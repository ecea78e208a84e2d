import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  auditEvents,
  castellan,
  finish,
  isRoot,
  MODES,
  prepare,
  run,
  type Setup,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const sharedWorld = useWorld();
const DETACH = '\x10\x11';

/** Runs its arguments on a terminal of 33 rows and 101 columns, with its own streams as the other side. */
const ON_TERMINAL = [
  'python3',
  '-c',
  'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(["/bin/sh", "-c", \'stty rows 33 cols 101; exec "$@"\', "sh"] + sys.argv[1:])))',
];

/** Runs its arguments on a terminal that nobody reads. */
const UNREAD_TERMINAL = [
  'python3',
  '-c',
  'import os, pty, sys\npid, _ = pty.fork()\nif pid == 0: os.execv(sys.argv[1], sys.argv[1:])\nsys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))',
];

let count = 0;

describe.skipIf(!isRoot).each(MODES)('the main process, %s (needs root to make the test world)', (mode) => {
  const children: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGTERM');
      child.stdin?.destroy();
      await once(child, 'exit');
    }
  });

  function watch(child: ChildProcess) {
    children.push(child);
    let [out, err] = ['', ''];
    child.stdout?.on('data', (chunk) => (out += chunk));
    child.stderr?.on('data', (chunk) => (err += chunk));
    child.stdin?.on('error', () => {});
    return {
      child,
      out: () => out,
      err: () => err,
      send: (text: string) => void child.stdin?.write(text),
      until: (text: string) => expect.poll(() => out + err, { timeout: 15_000 }).toContain(text),
      ended: once(child, 'close').then(([code]) => code as number | null),
    };
  }

  /** A retained run that has printed `up`, and how to attach to it. */
  async function start(script: string, options: readonly string[] = []) {
    const setup = prepare(sharedWorld(), mode);
    const name = `attach-${process.pid}-${++count}`;
    const main = watch(
      run(setup, ['/bin/bash', '-c', script], {
        policy: writePolicy(setup),
        name,
        options: ['--retain', '--quiet', '--grace', '1', ...options],
      }),
    );
    await main.until('up');
    await untilReady(setup, name);
    const words = (extra: readonly string[]) => ['attach', '--sandbox', name, ...extra];
    return {
      setup,
      name,
      main,
      attach: (...extra: string[]) => watch(castellan(setup, words(extra), 'pipe')),
      attachTerminal: (...extra: string[]) => watch(castellan(setup, words(extra), 'pipe', ON_TERMINAL)),
    };
  }

  it('is seen from its beginning, takes input, and gives its exit code to who is attached', async () => {
    const { setup, main, attach } = await start(
      'echo up; echo wrong >&2; read -r line; echo "got $line"; exit 7',
    );
    const client = attach();
    await client.until('up');
    client.send('words\n');
    expect(await client.ended).toBe(7);
    expect(client.out()).toBe('up\ngot words\n');
    expect(client.err()).toBe('wrong\n');
    expect(await main.ended).toBe(7);
    expect([main.out(), main.err()]).toEqual(['up\ngot words\n', 'wrong\n']);
    const kinds = auditEvents(setup).filter(({ unmapped }) => unmapped?.['session_kind'] === 'attach');
    expect(kinds.map(({ type_uid }) => type_uid)).toEqual([400701, 400702]);
  });

  it('on a terminal: keys, size, detach and return; one has the input, the other is told', async () => {
    const { main, attachTerminal } = await start(
      'stty -echo; echo up; while read -r line; do echo "<$line $(stty size)>"; done',
      ['--tty'],
    );
    const first = attachTerminal();
    await first.until('attached; Ctrl-P Ctrl-Q detaches');
    await first.until('up');
    first.send('one\r');
    await first.until('<one 33 101>');
    const second = attachTerminal();
    await second.until('somebody else has the input');
    second.send('from the second\r');
    second.send('\x10');
    second.send('\x11');
    expect(await second.ended).toBe(0);
    first.send(DETACH);
    expect(await first.ended).toBe(0);
    const third = attachTerminal();
    await third.until('<one 33 101>');
    third.send('three\r');
    await third.until('<three 33 101>');
    // Ctrl-D on the process's own terminal.
    third.send('\x04');
    expect(await third.ended).toBe(0);
    expect(await main.ended).toBe(0);
    expect(main.out()).toContain('<three 33 101>');
    expect(main.out()).not.toContain('from the second');
  });

  it('frees the input when the client is killed', async () => {
    const { name, attach } = await start('echo up; while read -r line; do echo "<$line>"; done');
    const first = attach();
    await first.until('up');
    const watcher = attach('--read-only');
    await watcher.until('attached read-only');
    process.kill(sshOf(name, 'castellan-main\0'), 'SIGKILL');
    expect(await first.ended).toBe(137);
    const second = attach();
    await second.until('up');
    second.send('mine\n');
    await watcher.until('<mine>');
    expect(second.err()).toBe('');
  });

  it('goes on when a client, or castellan’s own reader, takes nothing', async () => {
    const size = 12_000_000;
    const { name, main, attach } = await start(
      `echo up; read -r _; head -c ${size} /dev/zero | tr '\\0' x; echo; echo finished; read -r _; exit 3`,
    );
    const first = attach();
    await first.until('up');
    const stopped = attach('--read-only');
    await stopped.until('up');
    main.child.stdout?.pause();
    const ssh = sshOf(name, 'castellan-main read-only\0');
    process.kill(ssh, 'SIGSTOP');
    first.send('\n');
    // Castellan's own reader is waited for until it has taken nothing for ten seconds.
    await expect.poll(() => first.out().endsWith('finished\n'), { timeout: 25_000 }).toBe(true);
    expect(first.out().length).toBe('up\n\nfinished\n'.length + size);
    process.kill(ssh, 'SIGCONT');
    expect(await stopped.ended).toBe(114);
    first.send('\n');
    expect(await first.ended).toBe(3);
    await once(main.child, 'exit');
    main.child.stdout?.resume();
    expect(await main.ended).toBe(3);
    expect(main.err()).toMatch(/castellan: \d+ bytes of output are left out/);
  }, 60_000);

  it('goes on, and ends, when nobody reads castellan’s own terminal', async () => {
    const setup = prepare(sharedWorld(), mode);
    const name = `attach-${process.pid}-${++count}`;
    const script =
      'until [ -e go ]; do sleep 0.05; done; head -c 8000000 /dev/zero | tr "\\0" x; echo finished; exit 3';
    const argv = ['run', '--quiet', '--retain', '--name', name, '--policy', writePolicy(setup)];
    const rest = ['--workdir', setup.work, '--audit-file', setup.auditPath, '--', '/bin/bash', '-c', script];
    const main = watch(castellan(setup, [...argv, ...rest], 'pipe', UNREAD_TERMINAL));
    await untilReady(setup, name);
    const client = watch(castellan(setup, ['attach', '--sandbox', name], 'pipe'));
    await client.until('somebody else has the input');
    writeFileSync(join(setup.work, 'go'), '');
    expect(await client.ended).toBe(3);
    expect(client.out()).toMatch(/xfinished\r\n$/);
    expect(await main.ended).toBe(3);
  }, 60_000);

  it('is told by the environment, which it does not see', async () => {
    const setup = prepare(sharedWorld(), mode);
    const spec = JSON.stringify({
      version: 1,
      command: ['/bin/sh', '-c', '[ -t 0 ] && echo terminal; env; cat /proc/$PPID/environ; exit 6'],
      tty: true,
    });
    const environment = {
      ...setup.environment,
      OPENSHELL_MAIN_PROCESS_SPEC: `base64url:${Buffer.from(spec).toString('base64url')}`,
    };
    const argv = ['run', '--quiet', '--policy', writePolicy(setup), '--audit-file', setup.auditPath];
    const { code, stdout } = await finish(castellan({ ...setup, environment }, argv));
    expect(code).toBe(6);
    expect(stdout).toContain('terminal\r\n');
    expect(stdout).toContain('CASTELLAN=1');
    expect(stdout).not.toContain('PROCESS_SPEC');
    const malformed = { ...setup.environment, OPENSHELL_MAIN_PROCESS_SPEC: '{"version":2,"command":["id"]}' };
    const refused = await finish(castellan({ ...setup, environment: malformed }, argv));
    expect(refused).toMatchObject({
      code: 100,
      stderr: expect.stringMatching(/OPENSHELL_MAIN_PROCESS_SPEC at version/),
    });
    expect((await finish(castellan(setup, argv))).code).toBe(100);
  });

  it('is a login shell for a person who names no command', async () => {
    const setup = prepare(sharedWorld(), mode);
    const argv = ['run', '--quiet', '--policy', writePolicy(setup), '--audit-file', setup.auditPath];
    const person = watch(castellan(setup, argv, 'pipe', ON_TERMINAL));
    person.send('echo "shell: $0 $((40 + 2))"; exit 8\r');
    expect(await person.ended).toBe(8);
    expect(person.out()).toMatch(/shell: \S*sh 42/);
  });

  it('has castellan’s own terminal as the first that attaches', async () => {
    const setup = prepare(sharedWorld(), mode);
    const name = `attach-${process.pid}-${++count}`;
    const script = 'stty -echo; echo up; while read -r line; do echo "<$line $(stty size)>"; done';
    const argv = ['run', '--quiet', '--retain', '--name', name, '--policy', writePolicy(setup)];
    const person = watch(
      castellan(
        setup,
        [...argv, '--audit-file', setup.auditPath, '--', '/bin/bash', '-c', script],
        'pipe',
        ON_TERMINAL,
      ),
    );
    await person.until('up');
    person.send('here\r');
    await person.until('<here 33 101>');
    await untilReady(setup, name);
    const other = watch(castellan(setup, ['attach', '--sandbox', name], 'pipe'));
    await other.until('somebody else has the input');
    person.send(DETACH);
    await person.until('castellan: the input is free');
    const next = watch(castellan(setup, ['attach', '--sandbox', name], 'pipe'));
    await next.until('up');
    next.send('there\n');
    await person.until('<there 33 101>');
    next.send('\x04');
    expect(await person.ended).toBe(0);
  });

  it.each([
    ['that ends on TERM', 'echo up; exec sleep 1000', /ended by SIGTERM/],
    ['that ends with 0', 'trap "exit 0" TERM; echo up; while :; do sleep 0.05; done', /ended with 0/],
    ['that ignores TERM', 'trap "" TERM; echo up; while :; do sleep 0.05; done', /ended by SIGKILL/],
    ['that is stopped', 'echo up; kill -STOP $$', /ended by SIGTERM/],
  ])('ends a command %s at its time limit, with 124', async (_, script, how) => {
    const setup = prepare(sharedWorld(), mode);
    const { code, stderr } = await finish(
      run(setup, ['/bin/bash', '-c', script], {
        policy: writePolicy(setup),
        options: ['--quiet', '--timeout', '1', '--grace', '1'],
      }),
    );
    expect(code).toBe(124);
    expect(stderr).toMatch(/the command reached its time limit of 1 s.*\[command_timed_out, time-limit\]/);
    const end = auditEvents(setup).find(({ type_uid }) => type_uid === 600204);
    expect(end?.status_detail).toMatch(/time limit of 1 s/);
    expect(end?.status_detail).toMatch(how);
  });

  it('leaves a command alone that ends within its time limit', async () => {
    const setup = prepare(sharedWorld(), mode);
    const options = ['--quiet', '--timeout', '60'];
    const command = ['/bin/sh', '-c', 'exit 9'];
    expect((await finish(run(setup, command, { policy: writePolicy(setup), options }))).code).toBe(9);
  });

  it.each([[[]], [['--retain']], [['--retain', '--tty']]])(
    'gets HUP, with its group, and may go on: %j',
    async (options) => {
      const setup = prepare(sharedWorld(), mode);
      const script =
        '(trap "echo child; exit" HUP; echo on; while :; do sleep 0.05; done) & trap "echo parent" HUP; wait; wait; echo up; read -r _; exit 5';
      const main = watch(
        run(setup, ['/bin/bash', '-c', `${script}`], {
          policy: writePolicy(setup),
          stdin: 'pipe',
          options: ['--quiet', '--grace', '1', ...options],
        }),
      );
      await main.until('on');
      main.child.kill('SIGHUP');
      await main.until('child');
      await main.until('parent');
      await main.until('up');
      main.child.kill('SIGTERM');
      expect(await main.ended).toBe(143);
    },
  );
});

async function untilReady(setup: Setup, name: string): Promise<void> {
  for (;;) {
    const { stdout } = await finish(castellan(setup, ['list', '--json']));
    const runs = JSON.parse(stdout) as { name: string; ready: boolean }[];
    if (runs.some((each) => each.name === name && each.ready)) return;
  }
}

/** The OpenSSH client whose last words are these. */
function sshOf(name: string, end: string): number {
  const pid = readdirSync('/proc').find((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      const line = readFileSync(`/proc/${entry}/cmdline`, 'utf8');
      return (
        line.startsWith('/usr/bin/ssh\0') &&
        line.endsWith(`\0castellan-${name}\0${end.replaceAll(' ', '\0')}`)
      );
    } catch {
      return false;
    }
  });
  if (pid === undefined) throw new Error('no such client');
  return Number(pid);
}
