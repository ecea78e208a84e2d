/** What a launched command can see and reach: mounts, Landlock, namespaces, as root and as an ordinary user. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { posix } from '../../src/kernel/posix.ts';
import { type LandlockRule, landlockSpec } from '../../src/launch/landlock.ts';
import type { LaunchSpec, MountStep } from '../../src/launch/spec.ts';
import { isRoot } from '../fakes/cell.ts';
import { launch, type Start, spec, UID } from './launcher.ts';

const [ENOENT, EINVAL] = [2, 22];
const O_PATH = 0o10000000;
const AS_UID = ['/usr/bin/setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups'];

let directory: string;
let opened: number[];
let children: ChildProcess[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-places-'));
  chmodSync(directory, 0o777);
  opened = [];
  children = [];
});
afterEach(async () => {
  for (const descriptor of opened) closeSync(descriptor);
  for (const child of children) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  rmSync(directory, { recursive: true });
});

const at = (name: string) => join(directory, name);

function makeDirectory(name: string, ...files: string[]): string {
  mkdirSync(at(name));
  chmodSync(at(name), 0o777);
  for (const file of files) makeFile(`${name}/${file}`);
  return at(name);
}

function makeFile(name: string): string {
  writeFileSync(at(name), `content of ${name}`);
  chmodSync(at(name), 0o666);
  return at(name);
}

function open(path: string, flags = O_PATH): number {
  const descriptor = openSync(path, flags);
  opened.push(descriptor);
  return descriptor;
}

/** User and network namespaces made by the uid itself, as a rootless run has them. */
async function ownNamespaces(mapped = UID): Promise<LaunchSpec['namespaces'] & { readonly pid: number }> {
  const make = [
    '/usr/bin/unshare',
    '--user',
    '--net',
    `--map-user=${mapped}`,
    `--map-group=${mapped}`,
    '/bin/sh',
    '-c',
    'echo made; exec sleep 60',
  ];
  const holder = spawn(AS_UID[0] ?? '', [...AS_UID.slice(1), ...make], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(holder);
  await once(holder.stdout, 'data');
  const of = (kind: string) => open(`/proc/${holder.pid}/ns/${kind}`, 0);
  return { user: of('user'), network: of('net'), pid: holder.pid ?? 0 };
}

const MODES = ['root', 'rootless'] as const;

async function shell(mode: (typeof MODES)[number], script: string, change: Partial<LaunchSpec> = {}) {
  const rootless = mode === 'rootless';
  const start: Start = rootless ? { wrapper: AS_UID } : {};
  const own = rootless ? { credentials: undefined, namespaces: await ownNamespaces() } : {};
  const outcome = await launch(spec(['/bin/sh', '-c', script], { ...own, ...change }), start);
  expect(outcome.failure).toBeUndefined();
  return outcome;
}

const hide = (path: string): MountStep => ({ kind: 'hide', path });
const bind = (source: string, path: string): MountStep => ({ kind: 'bind', descriptor: open(source), path });

describe.skipIf(!isRoot).each(MODES)('the view of a command, %s (needs root)', (mode) => {
  it('shows a hidden directory empty and not to be filled, and only to the command', async () => {
    const hidden = makeDirectory('hidden', 'secret');
    const script = `ls -A ${hidden} | wc -l; cat ${hidden}/secret; touch ${hidden}/new`;
    const { stdout, stderr } = await shell(mode, script, { mounts: [hide(hidden)] });
    expect(stdout).toBe('0\n');
    expect(stderr).toMatch(/secret: No such file/);
    expect(stderr).toMatch(/new.*Read-only file system/);
    expect(readFileSync(`${hidden}/secret`, 'utf8')).toBe('content of hidden/secret');
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(hidden);
  });

  it('shows a hidden file empty, and keeps it as it is', async () => {
    const hidden = makeFile('hidden');
    const script = `wc -c < ${hidden}; echo x > ${hidden}; rm ${hidden} || echo kept`;
    const { stdout } = await shell(mode, script, { mounts: [hide(hidden)] });
    expect(stdout).toBe('0\nkept\n');
    expect(readFileSync(hidden, 'utf8')).toBe('content of hidden');
  });

  it('has no hidden socket to connect to', async () => {
    const path = at('socket');
    opened.push(posix().listenUnix(path, 0o666));
    const connect = `/usr/bin/python3 -c '
import socket
try: socket.socket(socket.AF_UNIX).connect("${path}"); print("connected")
except OSError as error: print(error.strerror)'`;
    expect((await shell(mode, connect)).stdout).toBe('connected\n');
    expect((await shell(mode, connect, { mounts: [hide(path)] })).stdout).toBe('Connection refused\n');
  });

  it('passes over what is not there, and over links', async () => {
    makeFile('target');
    symlinkSync(at('target'), at('link'));
    const mounts = [hide(at('none')), hide(`${at('target')}/below`), hide(at('link'))];
    expect((await shell(mode, `cat ${at('link')}`, { mounts })).stdout).toBe('content of target');
  });

  it('hides and attaches in order', async () => {
    const outer = makeDirectory('outer');
    const other = makeDirectory('other', 'kept', 'covered');
    const mounts = [bind(other, outer), hide(`${outer}/covered`)];
    const { stdout } = await shell(mode, `cat ${outer}/kept; wc -c < ${outer}/covered`, { mounts });
    expect(stdout).toBe('content of other/kept0\n');
    const emptied = [...mounts, hide(outer)];
    expect((await shell(mode, `ls -A ${outer} | wc -l`, { mounts: emptied })).stdout).toBe('0\n');
  });

  it('attaches a file to a file', async () => {
    const mounts = [bind(makeFile('source'), makeFile('place'))];
    expect((await shell(mode, `cat ${at('place')}`, { mounts })).stdout).toBe('content of source');
    expect(readFileSync(at('place'), 'utf8')).toBe('content of place');
  });

  it('has a mount namespace of its own only where it needs one', async () => {
    const own = readlinkSync('/proc/self/ns/mnt');
    const script = 'readlink /proc/self/ns/mnt';
    expect((await shell(mode, script)).stdout.trim()).toBe(own);
    expect((await shell(mode, script, { mounts: [hide(at('none'))] })).stdout.trim()).not.toBe(own);
  });

  it('has no System V memory of its own uid’s, where it has a view at all', async () => {
    const memory = (call: string) => `
import ctypes
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
print(${call})`;
    const make = [...AS_UID.slice(1), '/usr/bin/python3', '-c', memory(`libc.shmget(0, 4096, 0o1600)`)];
    const id = execFileSync(AS_UID[0] ?? '', make, { encoding: 'utf8' }).trim();
    try {
      const attach = `/usr/bin/python3 -c '${memory(`libc.shmat(${id}, None, 0) != 2**64 - 1`)}'`;
      expect((await shell(mode, attach)).stdout).toBe('True\n');
      expect((await shell(mode, attach, { mounts: [hide(at('none'))] })).stdout).toBe('False\n');
    } finally {
      execFileSync('/usr/bin/ipcrm', ['-m', id]);
    }
  });

  it('is what Landlock says', async () => {
    makeDirectory('readable', 'file');
    makeDirectory('writable', 'file');
    makeDirectory('closed', 'file');
    const rules: LandlockRule[] = [
      ...['/usr', '/bin', '/lib', '/lib64', at('readable')].map(
        (path) => ({ descriptor: open(path), isDirectory: true, access: 'read' }) as const,
      ),
      { descriptor: open(at('writable')), isDirectory: true, access: 'write' },
      { descriptor: open(makeFile('single')), isDirectory: false, access: 'read' },
    ];
    const tries = [
      `cat ${at('readable/file')}`,
      `cat ${at('writable/file')}`,
      `cat ${at('closed/file')}`,
      `cat ${at('single')}`,
      `cat /etc/passwd`,
      `ls ${at('closed')}`,
      `echo x >> ${at('readable/file')}`,
      `echo x >> ${at('writable/file')}`,
      `echo x >> ${at('single')}`,
      `touch ${at('readable/new')}`,
      `mkdir ${at('writable/new')}`,
      `mv ${at('writable/file')} ${at('closed/moved')}`,
    ];
    const script = tries.map((each) => `(${each}) >&3 2>&3 && echo yes || echo no`).join('\n');
    const { stdout } = await shell(mode, script, {
      landlock: landlockSpec(posix().landlockAbi(), rules),
      keep: [{ descriptor: open('/dev/null', 2), target: 3 }],
    });
    const allowed = stdout.trim().split('\n');
    expect(tries.filter((_, index) => allowed[index] === 'yes')).toEqual([
      tries[0],
      tries[1],
      tries[3],
      tries[7],
      tries[10],
    ]);
    expect(allowed).toHaveLength(tries.length);
  });
});

describe.skipIf(!isRoot)('places that cannot be (needs root)', () => {
  it.each([
    ['a place that is missing', () => ({ source: makeDirectory('source'), place: at('none') }), ENOENT],
    [
      'a directory from a file',
      () => ({ source: makeFile('source'), place: makeDirectory('place') }),
      EINVAL,
    ],
    [
      'a file from a directory',
      () => ({ source: makeDirectory('source'), place: makeFile('place') }),
      EINVAL,
    ],
  ])('attaches nothing to %s', async (_, make, errno) => {
    const { source, place } = make();
    const failed = await launch(spec(['/bin/true'], { mounts: [bind(source, place)] }));
    expect(failed.failure).toMatchObject({ step: 'mounts', errno });
  });

  it('attaches no inode whose path is gone, or another’s by now', async () => {
    const mounts = [bind(makeFile('source'), makeFile('place'))];
    unlinkSync(at('source'));
    expect((await launch(spec(['/bin/true'], { mounts }))).failure).toMatchObject({
      step: 'mounts',
      errno: ENOENT,
    });
    makeFile('source (deleted)');
    const ESTALE = 116;
    expect((await launch(spec(['/bin/true'], { mounts }))).failure).toMatchObject({
      step: 'mounts',
      errno: ESTALE,
    });
  });

  it('gives a file no right of a directory', async () => {
    const rules = [{ descriptor: open(makeFile('file')), isDirectory: true, access: 'write' } as const];
    const landlock = landlockSpec(posix().landlockAbi(), rules);
    expect((await launch(spec(['/bin/true'], { landlock }))).failure).toEqual({
      step: 'landlock',
      errno: EINVAL,
      object: 'rule',
    });
  });
});

describe.skipIf(!isRoot)('mounts of a command (needs root)', () => {
  it('show nowhere else, also where mounts are shared', async () => {
    const make = ['--mount', '--propagation=shared', '/bin/sh', '-c', 'echo made; exec sleep 60'];
    const holder = spawn('/usr/bin/unshare', make, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(holder);
    await once(holder.stdout, 'data');
    const wrapper = ['/usr/bin/nsenter', `--mount=/proc/${holder.pid}/ns/mnt`];
    const hidden = makeDirectory('hidden', 'secret');
    const { stdout } = await launch(spec(['/bin/ls', hidden], { mounts: [hide(hidden)] }), { wrapper });
    expect(stdout).toBe('');
    const shared = readFileSync(`/proc/${holder.pid}/mountinfo`, 'utf8');
    expect(shared).toMatch(/ shared:/);
    expect(shared).not.toContain(hidden);
  });
});

describe.skipIf(!isRoot)('namespaces of a rootless command (needs root)', () => {
  const READ =
    'readlink /proc/self/ns/user /proc/self/ns/net; id -u; grep -E "^(CapEff|CapPrm|CapBnd|CapAmb):" /proc/self/status | cut -f2';

  it('are those given, without their capabilities', async () => {
    const namespaces = await ownNamespaces();
    const { stdout } = await shell('rootless', READ, { namespaces });
    const none = '0'.repeat(16);
    expect(stdout.trim().split('\n')).toEqual([
      readlinkSync(`/proc/${namespaces.pid}/ns/user`),
      readlinkSync(`/proc/${namespaces.pid}/ns/net`),
      `${UID}`,
      ...Array<string>(4).fill(none),
    ]);
  });

  it('do not make root of the caller', async () => {
    const namespaces = await ownNamespaces(0);
    const { failure } = await launch(spec(['/bin/true'], { credentials: undefined, namespaces }), {
      wrapper: AS_UID,
    });
    expect(failure).toEqual({ step: 'regain', errno: 1, object: 'root came back' });
  });

  it('cannot be entered by a stranger', async () => {
    const namespaces = await ownNamespaces();
    const stranger = ['/usr/bin/setpriv', `--reuid=${UID + 1}`, `--regid=${UID + 1}`, '--clear-groups'];
    const { failure } = await launch(spec(['/bin/true'], { credentials: undefined, namespaces }), {
      wrapper: stranger,
    });
    expect(failure).toEqual({ step: 'namespaces', errno: 1, object: 'user' });
  });
});
