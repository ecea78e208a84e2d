/** castellan, the init: with a shell script in Node's place, which it starts like Node. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { spawn as spawnTerminal } from 'node-pty';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRoot } from '../fakes/cell.ts';

const CASTELLAN = join(import.meta.dirname, '../../build/bin/castellan');
const INSTALL_INCOMPLETE = 113;

let root: string;
let init: string;
let children: ChildProcess[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'castellan-init-'));
  init = place('build/bin/castellan');
  copyFileSync(CASTELLAN, init);
  writeFileSync(place('src/main.ts'), '');
  children = [];
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(root, { recursive: true });
});

function place(name: string): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  return path;
}

/** The script in Node's place: its $1 is main.ts. */
function node(script: string, interpreter = '/bin/sh'): string {
  const path = place(`node_modules/node-linux-${process.arch}/bin/node`);
  writeFileSync(path, `#!${interpreter}\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

interface Options {
  readonly wrapper?: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
  readonly program?: string;
}

/** Starts castellan; the wrapper becomes it. */
function start(
  args: readonly string[] = [],
  { wrapper = [], environment = {}, program = init }: Options = {},
) {
  const [first = '', ...rest] = [...wrapper, program, ...args];
  const child = spawn(first, rest, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: '/usr/bin:/bin', ...environment },
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    pid: child.pid ?? 0,
    /** The next line; undefined when nobody holds the pipe any more. */
    line: async () => (await lines.next()).value as string | undefined,
    complaint: text(child.stderr),
    exited: once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    end: () => child.stdin.end(),
  };
}

async function finish(run: ReturnType<typeof start>) {
  const lines: string[] = [];
  for (let line = await run.line(); line !== undefined; line = await run.line()) lines.push(line);
  return { lines, complaint: await run.complaint, code: (await run.exited)[0] };
}

describe('castellan starts Node', () => {
  it('with main.ts and its own arguments', async () => {
    node('for argument; do echo "[$argument]"; done');
    const { lines, code, complaint } = await finish(start(['run', '', 'a b', '--']));
    expect(lines).toEqual([`[${root}/src/main.ts]`, '[run]', '[]', '[a b]', '[--]']);
    expect({ code, complaint }).toEqual({ code: 0, complaint: '' });
  });

  it('found by its own place, not by its name', async () => {
    node('echo "$1"');
    const { lines } = await finish(
      start([], { wrapper: ['/bin/bash', '-c', 'exec -a castellan "$0" "$@"'] }),
    );
    expect(lines).toEqual([`${root}/src/main.ts`]);
  });

  it.each<[string, (alias: string) => void]>([
    ['a copy', (alias) => copyFileSync(init, alias)],
    ['a hard link', (alias) => linkSync(init, alias)],
    ['a link beside it', (alias) => symlinkSync('castellan', alias)],
  ])('and, as openshell-sandbox, with that word first: %s', async (_, make) => {
    const alias = place('build/bin/openshell-sandbox');
    make(alias);
    const elsewhere = place('elsewhere/openshell-sandbox');
    symlinkSync('../build/bin/openshell-sandbox', elsewhere);
    node('for argument; do echo "[$argument]"; done');
    for (const program of [alias, elsewhere])
      for (const wrapper of [['env'], ['/bin/bash', '-c', 'exec -a castellan "$0" "$@"']]) {
        const { lines } = await finish(start(['--workdir', ''], { wrapper, program }));
        expect(lines).toEqual([`[${root}/src/main.ts]`, '[openshell-sandbox]', '[--workdir]', '[]']);
      }
    // What a caller puts into argv[0] is no name.
    const wrapper = ['/bin/bash', '-c', 'exec -a openshell-sandbox "$0" "$@"'];
    expect((await finish(start(['run'], { wrapper }))).lines).toEqual([`[${root}/src/main.ts]`, '[run]']);
  });

  it('without what would steer it', async () => {
    node('env | sort');
    const steering = {
      NODE_OPTIONS: '--inspect',
      NODE_PATH: '/x',
      NODE_EXTRA_CA_CERTS: '/x',
      NODE_REPL_EXTERNAL_MODULE: '/x',
      NODE_V8_COVERAGE: '/x',
      NODE_REDIRECT_WARNINGS: '/x',
      LD_PRELOAD: '',
      LD_LIBRARY_PATH: '/x',
      GLIBC_TUNABLES: 'x',
      OPENSSL_CONF: '/x',
      OPENSSL_MODULES: '/x',
      HOSTALIASES: '/x',
      LOCALDOMAIN: 'x',
      RES_OPTIONS: 'x',
      CARES_HOSTS: '/x',
      SSLKEYLOGFILE: '/x',
      UV_THREADPOOL_SIZE: '1',
      CASTELLAN_INIT: '1',
    };
    const { lines } = await finish(
      start([], { environment: { ...steering, KEPT: 'yes', XNODE_OPTIONS: 'x' } }),
    );
    expect(lines.filter((line) => !/^(PWD|_|SHLVL|OLDPWD)=/.test(line))).toEqual([
      expect.stringMatching(/^CASTELLAN_INIT=\d{2,}$/),
      'KEPT=yes',
      'OPENSSL_CONF=/dev/null',
      'PATH=/usr/bin:/bin',
      'XNODE_OPTIONS=x',
    ]);
  });

  it('with no signal blocked or ignored, even where its caller did both', async () => {
    node('grep -E "^Sig(Blk|Ign):" /proc/self/status | cut -f2');
    const evil = `import os, signal, sys
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD): signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD))
os.execv(sys.argv[1], sys.argv[1:])`;
    const { lines, code } = await finish(start([], { wrapper: ['/usr/bin/python3', '-c', evil] }));
    expect(lines).toEqual(['0000000000000000', '0000000000000000']);
    expect(code).toBe(0);
  });

  it.each([
    ['Node', () => rmSync(node(''))],
    ['Node’s right to run', () => chmodSync(node(''), 0o644)],
    ['Node’s interpreter', () => node('', '/none')],
    [
      'main.ts',
      () => {
        node('');
        rmSync(join(root, 'src/main.ts'));
      },
    ],
  ])('or says in one line that it lacks %s', async (_, spoil) => {
    spoil();
    const { lines, complaint, code } = await finish(start());
    expect({ lines, code }).toEqual({ lines: [], code: INSTALL_INCOMPLETE });
    expect(complaint).toMatch(
      /^castellan: \S+ is missing \[install_incomplete, init\]; run npm run setup\n$/,
    );
    expect(complaint).toContain(root);
  });
});

describe('castellan ends like Node', () => {
  it.each([
    ['exit 0', 0],
    ['exit 42', 42],
    ['kill -TERM $$', 128 + 15],
    ['kill -KILL $$', 128 + 9],
    ['kill -SEGV $$', 128 + 11],
  ])('%s → %i', async (script, code) => {
    node(script);
    expect((await finish(start())).code).toBe(code);
  });
});

describe('castellan passes signals on', () => {
  const FORWARDED = ['INT', 'TERM', 'HUP', 'QUIT', 'USR1', 'USR2', 'WINCH', 'CONT'] as const;

  it.each(FORWARDED)('SIG%s, once', async (name) => {
    node(`trap 'echo got' ${name}
trap 'echo end; exit 3' ABRT
echo "up $$"
while :; do read -r _ || sleep 0.01; done`);
    const run = start();
    const pid = Number((await run.line())?.split(' ')[1]);
    run.kill(`SIG${name}`);
    expect(await run.line()).toBe('got');
    process.kill(pid, 'SIGABRT');
    expect(await run.line()).toBe('end');
    expect((await run.exited)[0]).toBe(3);
  });

  it('but not those that the terminal sends to both', async () => {
    node(`trap 'echo caught' INT
trap 'echo end; exit 4' TERM
echo up
while :; do read -r _ || sleep 0.01; done`);
    const terminal = spawnTerminal(init, [], { cols: 80, rows: 24, env: { PATH: '/usr/bin:/bin' } });
    let seen = '';
    terminal.onData((data) => {
      seen += data;
    });
    const exited = new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
    try {
      await expect.poll(() => seen, { timeout: 20_000 }).toContain('up');
      terminal.write('\x03');
      await expect.poll(() => seen, { timeout: 20_000 }).toContain('caught');
      terminal.kill('SIGTERM');
      expect(await exited).toBe(4);
      expect(seen.match(/caught/g)).toHaveLength(1);
    } finally {
      terminal.kill('SIGKILL');
    }
  });

  it('dies with its own death only by KILL, and then Node does too', async () => {
    node('echo up; exec sleep 60');
    const run = start();
    expect(await run.line()).toBe('up');
    run.kill('SIGKILL');
    expect(await run.line()).toBeUndefined();
    expect((await run.exited)[1]).toBe('SIGKILL');
  });
});

const TREE = `
for n in 1 2 3; do
  setsid sh -c 'trap "" TERM HUP INT; (setsid sleep 60 &) ; echo started; sleep 60' &
done
read -r _
exit 6`;

describe.each([
  ['as subreaper', [] as string[]],
  ['as PID 1 (needs root)', ['/usr/bin/unshare', '--pid', '--fork', '--mount-proc', '--kill-child']],
])('castellan and its descendants, %s', (name, wrapper) => {
  const pid1 = wrapper.length > 0;
  it.skipIf(pid1 && !isRoot)('takes along what is left when Node ends', async () => {
    node(TREE);
    const run = start([], { wrapper });
    for (let count = 0; count < 3; count++) expect(await run.line()).toBe('started');
    run.end();
    // The pipe ends only when every daemon that inherited it is gone.
    expect(await run.line()).toBeUndefined();
    expect((await run.exited)[0], name).toBe(6);
  });

  it.skipIf(pid1 && !isRoot)('reaps ten thousand orphans while Node runs', async () => {
    node(`trap '' CHLD
for n in $(seq 10000); do (: &) ; done
echo done
read -r _
until ps -eo ppid=,stat= | awk -v init=$PPID '$1 == init && $2 ~ /^Z/ { exit 1 }'; do sleep 0.02; done
echo reaped`);
    const run = start([], { wrapper });
    expect(await run.line()).toBe('done');
    run.end();
    expect(await run.line()).toBe('reaped');
    expect((await run.exited)[0]).toBe(0);
  });
});
