/** What a launched command finds itself to be, and what stops it from becoming one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { posix } from '../../src/kernel/posix.ts';
import { encodeSpec } from '../../src/launch/encode.ts';
import type { LaunchSpec, LaunchStep } from '../../src/launch/spec.ts';
import { isRoot } from '../fakes/cell.ts';
import { launch, PATH, type Start, socketPlace, spec, UID } from './launcher.ts';

const [EPERM, ENOENT, EBADF, EACCES, EINVAL] = [1, 2, 9, 13, 22];
const RLIMIT_NOFILE = 7;
const RLIMIT_CORE = 4;
const AS_UID = ['/usr/bin/setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups'];

let directory: string;
let opened: number[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-launched-'));
  chmodSync(directory, 0o755);
  opened = [];
});
afterEach(() => {
  for (const descriptor of opened) closeSync(descriptor);
  rmSync(directory, { recursive: true });
});

function file(name: string, content = name, mode = 0o644): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function open(path: string): number {
  const descriptor = openSync(path, 'r');
  opened.push(descriptor);
  return descriptor;
}

const shell = (script: string, change: Partial<LaunchSpec> = {}, start: Start = {}) =>
  launch(spec(['/bin/sh', '-c', script], change), start);
const python = (script: string, change: Partial<LaunchSpec> = {}) =>
  launch(spec(['/usr/bin/python3', '-c', script], change));

/** Fields of /proc/PID/status as the command sees them. */
async function statusOf(change: Partial<LaunchSpec> = {}, start: Start = {}): Promise<Map<string, string>> {
  const { stdout, failure } = await launch(spec(['cat', '/proc/self/status'], change), start);
  expect(failure).toBeUndefined();
  return new Map(
    stdout.split('\n').map((line) => {
      const [name = '', ...rest] = line.split(/:\s*/);
      return [name, rest.join(':').trim().replaceAll(/\s+/g, ' ')];
    }),
  );
}

const ZERO = '0'.repeat(16);
const four = (id: number) => Array(4).fill(id).join(' ');

describe.skipIf(!isRoot)('a launched command (needs root)', () => {
  it.each([
    ['Uid', four(UID)],
    ['Gid', four(UID + 1)],
    ['Groups', `${UID + 2} ${UID + 3}`],
    ['CapInh', ZERO],
    ['CapPrm', ZERO],
    ['CapEff', ZERO],
    ['CapBnd', ZERO],
    ['CapAmb', ZERO],
    ['NoNewPrivs', '1'],
    ['Seccomp', '2'],
    // The table's, and the one for numbers that it cannot know.
    ['Seccomp_filters', '2'],
    ['Umask', '0027'],
    ['SigBlk', ZERO],
    ['TracerPid', '0'],
  ])('has %s %s', async (field, value) => {
    const credentials = { uid: UID, gid: UID + 1, groups: [UID + 2, UID + 3] };
    expect((await statusOf({ credentials, umask: 0o027 })).get(field)).toBe(value);
  });

  it('has no groups where none were given', async () => {
    const wrapper = ['/usr/bin/setpriv', '--groups=20,24'];
    expect((await statusOf({}, { wrapper })).get('Groups')).toBe('');
  });

  it('has no ambient or inheritable capability of the caller’s', async () => {
    const wrapper = ['/usr/bin/setpriv', '--inh-caps=+net_raw,+sys_admin', '--ambient-caps=+net_raw'];
    const status = await statusOf({}, { wrapper });
    expect(['CapInh', 'CapAmb', 'CapBnd'].map((field) => status.get(field))).toEqual([ZERO, ZERO, ZERO]);
  });

  it('has no filter with the profile none', async () => {
    expect((await statusOf({ seccomp: 'none' })).get('Seccomp')).toBe('0');
  });

  it('keeps the ids of a caller who is not root', async () => {
    const status = await statusOf({ credentials: undefined }, { wrapper: AS_UID });
    expect(['Uid', 'CapEff', 'NoNewPrivs'].map((field) => status.get(field))).toEqual([four(UID), ZERO, '1']);
  });

  it('has its securebits locked, and dies with its parent', async () => {
    const { stdout } = await python(`
import ctypes
libc = ctypes.CDLL(None)
PR_GET_PDEATHSIG, PR_GET_SECUREBITS = 2, 27
signal = ctypes.c_int()
libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(signal), 0, 0, 0)
print(hex(libc.prctl(PR_GET_SECUREBITS, 0, 0, 0, 0)), signal.value)`);
    // NOROOT and NO_CAP_AMBIENT_RAISE set, these and the other two locked: linux/securebits.h.
    expect(stdout).toBe('0xeb 9\n');
  });

  it('cannot become root, and gains nothing by setuid programs', async () => {
    const { stdout } = await python(`
import os, subprocess
for call in (lambda: os.setuid(0), lambda: os.setresuid(-1, 0, -1), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try: call(); print('done')
    except OSError as error: print(error.errno)
print(subprocess.run(['/usr/bin/su', '-c', 'id', 'root'], stdin=subprocess.DEVNULL, capture_output=True).returncode != 0)`);
    expect(stdout).toBe('1\n1\n1\n1\nTrue\n');
  });

  it('leads a new session, also where it was a session’s leader before', async () => {
    const script = 'read -r pid _ _ _ group session _ < /proc/self/stat; echo "$pid $group $session"';
    for (const start of [{}, { wrapper: ['/usr/bin/setsid'] }]) {
      const [pid, group, session] = (await shell(script, {}, start)).stdout.trim().split(' ');
      expect([group, session]).toEqual([pid, pid]);
    }
    const stays = (await shell(script, { newSession: false })).stdout.trim().split(' ');
    expect(stays[2]).not.toBe(stays[0]);
  });

  it('has the limits asked for, and never a core', async () => {
    const resourceLimits = [
      { resource: RLIMIT_NOFILE, soft: 100n, hard: 200n },
      { resource: RLIMIT_CORE, soft: 5000n, hard: 5000n },
    ];
    const { stdout } = await shell('ulimit -Sn; ulimit -Hn; ulimit -Hc', { resourceLimits });
    expect(stdout).toBe('100\n200\n0\n');
    expect((await shell('ulimit -Hc')).stdout).toBe('0\n');
  });

  it('gets its arguments, environment, directory and streams, and nothing else', async () => {
    const script = 'import os, sys; print(sys.argv[1:], dict(os.environ), os.getcwd(), sys.stdin.read())';
    const environment = ['A=1', 'B=x=y', 'LC_ALL=C.UTF-8', 'E='];
    const { stdout } = await launch(
      spec(['/usr/bin/python3', '-c', script, 'ü', ''], { environment, workingDirectory: '/usr' }),
      { input: 'given' },
    );
    expect(stdout).toBe("['ü', ''] {'A': '1', 'B': 'x=y', 'LC_ALL': 'C.UTF-8', 'E': ''} /usr given\n");
  });
});

describe.skipIf(!isRoot)('descriptors of a launched command (needs root)', () => {
  const listOpen = 'for number in $(ls /proc/self/fd); do echo $number; done';

  it('are the three streams, whatever the launcher inherited', async () => {
    const leaked = [open(file('secret')), open('/'), open('/dev/null')];
    // The last one is the directory that ls reads.
    expect((await shell(listOpen, {}, { leaked })).stdout).toBe('0\n1\n2\n3\n');
  });

  it.each([
    ['the numbers they come in as, crossed', [4, 3]],
    ['the status socket’s number', [3]],
    ['the ends of the range', [255, 3]],
    ['many at once', [7, 3, 4, 6, 5, 20]],
  ])('are also those to keep: %s', async (_, targets) => {
    const keep = targets.map((target) => ({ descriptor: open(file(`for ${target}`)), target }));
    const { stdout } = await python(
      `
import os
print({number: os.pread(number, 20, 0).decode() for number in range(3, 300) if os.path.exists(f'/proc/self/fd/{number}')})`,
      { keep },
    );
    const sorted = targets.toSorted((a, b) => a - b);
    expect(stdout).toBe(`{${sorted.map((target) => `${target}: 'for ${target}'`).join(', ')}}\n`);
  });

  it('leave the status socket working, which may have had their number', async () => {
    const keep = [3, 4, 5].map((target) => ({ descriptor: open('/dev/null'), target }));
    expect((await launch(spec(['/none'], { keep }))).failure).toMatchObject({
      step: 'execute',
      errno: ENOENT,
    });
  });

  it('may be one under several numbers', async () => {
    const descriptor = open(file('twice'));
    const keep = [3, 4].map((target) => ({ descriptor, target }));
    expect((await shell('cat <&4; ls /proc/self/fd | wc -l', { keep })).stdout).toBe('twice6\n');
  });

  it('come through a limit that leaves just room for them', async () => {
    const resourceLimits = [{ resource: RLIMIT_NOFILE, soft: 12n, hard: 12n }];
    expect((await shell('echo fine', { resourceLimits })).stdout).toBe('fine\n');
  });

  it('include all three streams, or there is no launch', async () => {
    const wrapper = ['/bin/sh', '-c', 'exec "$@" <&-', 'sh'];
    expect((await launch(spec(['/bin/true']), { wrapper })).failure).toEqual({
      step: 'descriptors',
      errno: EBADF,
      object: 'standard stream',
    });
  });
});

describe.skipIf(!isRoot)('a launch that fails (needs root)', () => {
  it.each<[LaunchStep, number, string, Partial<LaunchSpec>, Start]>([
    [
      'session',
      EPERM,
      'a group leader of another session',
      {},
      {
        wrapper: [
          '/usr/bin/python3',
          '-c',
          'import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])',
        ],
      },
    ],
    [
      'limits',
      EPERM,
      'a limit that cannot be',
      { resourceLimits: [{ resource: RLIMIT_NOFILE, soft: 1n << 40n, hard: 1n << 40n }] },
      {},
    ],
    [
      'limits',
      EINVAL,
      'a limit that does not exist',
      { resourceLimits: [{ resource: 99, soft: 0n, hard: 0n }] },
      {},
    ],
    ['groups', EPERM, 'ids for who is not root', {}, { wrapper: AS_UID }],
    [
      'bounding',
      EPERM,
      'capabilities without the right to drop them',
      {},
      { wrapper: ['/usr/bin/setpriv', '--bounding-set=-setpcap'] },
    ],
    ['directory', EACCES, 'a directory for root only', { workingDirectory: '/root' }, {}],
    [
      'landlock',
      EINVAL,
      'rights that the kernel does not know',
      {
        landlock: {
          handledFs: 1n << 63n,
          handledNet: 0n,
          scoped: 0n,
          rules: [],
          ports: [],
          restrictFlags: 0,
        },
      },
      {},
    ],
  ])('names step %s, errno %i: %s', async (step, errno, _, change, start) => {
    const outcome = await launch(spec(['/bin/echo', 'ran'], change), start);
    expect(outcome).toMatchObject({ failure: { step, errno }, code: 125, stdout: '', stderr: '' });
  });

  it.each([
    ['user', 'net'],
    ['network', 'user'],
  ] as const)('does not take another kind of namespace for the %s namespace', async (wanted, kind) => {
    const namespaces = { user: undefined, network: undefined, [wanted]: open(`/proc/self/ns/${kind}`) };
    expect((await launch(spec(['/bin/true'], { namespaces }))).failure).toEqual({
      step: 'namespaces',
      errno: EINVAL,
      object: wanted,
    });
  });

  it('runs nothing when it cannot reach the supervisor', async () => {
    using place = socketPlace();
    const child = spawn(place.launcher, [place.path], { stdio: 'ignore' });
    expect((await once(child, 'exit'))[0]).toBe(125);
  });
});

describe.skipIf(!isRoot)('a launcher that waits for its spec (needs root)', () => {
  it('cannot be looked into by its own uid', async () => {
    using place = socketPlace();
    const server = createServer().listen(place.path);
    await once(server, 'listening');
    chmodSync(place.path, 0o666);
    const [setpriv = '', ...ids] = AS_UID;
    const child = spawn(setpriv, [...ids, place.launcher, place.path], { stdio: 'ignore' });
    const exited = once(child, 'exit');
    const [socket] = (await once(server, 'connection')) as [Socket];
    // proc(5): what is not dumpable belongs to root there.
    expect(statSync(`/proc/${child.pid}/mem`).uid).toBe(0);
    socket.destroy();
    server.close();
    expect((await exited)[0]).toBe(125);
  });
});

describe.skipIf(!isRoot)('finding the command (needs root)', () => {
  const SCRIPT = '#!/bin/sh\necho "$0"';
  const inPath = (path: string, name = 'tool') =>
    launch(spec([name], { environment: [`PATH=${path}`], workingDirectory: directory }));

  beforeEach(() => {
    for (const name of ['first', 'second', 'empty']) mkdirSync(join(directory, name));
    file('first/tool', SCRIPT, 0o644);
    file('second/tool', SCRIPT, 0o755);
    file('tool', SCRIPT, 0o755);
  });
  const at = (name: string) => join(directory, name);

  it('goes on past directories that lack it or hold what cannot be executed', async () => {
    const path = [`${at('tool')}/x`, at('none'), at('empty'), at('first'), at('second')].join(':');
    expect(await inPath(path)).toMatchObject({ failure: undefined, stdout: `${at('second/tool')}\n` });
  });

  it('takes the first of two PATHs, as getenv does', async () => {
    const environment = [`PATH=${at('second')}`, `PATH=${at('empty')}`];
    expect((await launch(spec(['tool'], { environment }))).stdout).toBe(`${at('second/tool')}\n`);
  });

  it.each([
    ['only refused', 'first:empty', EACCES, 'first/tool'],
    ['nowhere', 'empty:none', ENOENT, undefined],
  ])('says what was tried: %s', async (_, names, errno, object) => {
    const path = names.split(':').map(at).join(':');
    expect((await inPath(path)).failure).toEqual({
      step: 'execute',
      errno,
      object: object === undefined ? 'tool' : at(object),
    });
  });

  it.each(['', ':', '.', '.:', ':/nonexistent:', 'second', './second'])(
    'never looks in the current directory: PATH=%s',
    async (path) => {
      expect((await inPath(path)).failure).toEqual({ step: 'execute', errno: ENOENT, object: 'tool' });
    },
  );

  it('takes a name with a slash as it is, from the command’s directory', async () => {
    expect((await inPath(PATH, './tool')).stdout).toBe('./tool\n');
    expect((await inPath(PATH, 'empty/tool')).failure?.errno).toBe(ENOENT);
  });
});

describe.skipIf(!isRoot)('the parent’s death (needs root)', () => {
  it('ends the command', async () => {
    using place = socketPlace();
    const listener = posix().listenUnix(place.path, 0o600);
    opened.push(listener);
    const parent = spawn('/bin/sh', ['-c', '"$0" "$1" & echo $!; wait', place.launcher, place.path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const output = createInterface({ input: parent.stdout })[Symbol.asyncIterator]();
    const launcher = Number((await output.next()).value);
    const { bytes, descriptors } = encodeSpec(spec(['/bin/sh', '-c', 'echo up; exec sleep 60']));
    expect(await posix().serveLaunch(listener, launcher, bytes, descriptors, 10_000)).toHaveLength(0);
    expect((await output.next()).value).toBe('up');
    parent.kill('SIGKILL');
    // The pipe ends when nobody holds it any more.
    expect((await output.next()).done).toBe(true);
  });
});
