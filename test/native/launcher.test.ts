import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { posix } from '../../src/kernel/posix.ts';
import { encodeSpec } from '../../src/launch/encode.ts';
import { LAUNCH_STEPS, type LaunchSpec } from '../../src/launch/spec.ts';
import { parseStatus } from '../../src/launch/status.ts';
import { ROOT, readSource } from '../architecture/sources.ts';

const isRoot = process.getuid?.() === 0;
const LAUNCHER = join(ROOT, 'build/castellan-launch');
const EINVAL = 22;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-launcher-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const SPEC: LaunchSpec = {
  argv: ['/bin/true'],
  environment: ['PATH=/usr/bin:/bin'],
  workingDirectory: '/',
  credentials: { uid: 20_201, gid: 20_202, groups: [] },
  newSession: true,
  resourceLimits: [],
  umask: 0o22,
  namespaces: { user: undefined, network: undefined },
  mounts: [],
  landlock: undefined,
  seccomp: 'agent',
  keep: [],
};

interface Launched {
  readonly status: ReturnType<typeof parseStatus>;
  readonly stdout: string;
  readonly code: number | null;
}

/** Serves one launch of raw records, as launch.ts does of a spec. */
async function launchRaw(bytes: Uint8Array, descriptors: number[] = []): Promise<Launched> {
  const path = join(directory, 'launch.sock');
  const listener = posix().listenUnix(path, 0o600);
  try {
    const child: ChildProcess = spawn(LAUNCHER, [path], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {},
      cwd: '/',
    });
    let stdout = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    const closed = once(child, 'close');
    const status = parseStatus(
      await posix().serveLaunch(listener, child.pid ?? 0, bytes, descriptors, 10_000),
    );
    const [code] = await closed;
    return { status, stdout, code };
  } finally {
    posix().close(listener);
    rmSync(path, { force: true });
  }
}

function launch(part: Partial<LaunchSpec>): Promise<Launched> {
  const { bytes, descriptors } = encodeSpec({ ...SPEC, ...part });
  return launchRaw(bytes, descriptors);
}

const record = (tag: number, hex = '', zero = 0) => {
  const value = Buffer.from(hex, 'hex');
  const header = Buffer.alloc(8);
  header.writeUInt16LE(tag, 0);
  header.writeUInt16LE(zero, 2);
  header.writeUInt32LE(value.length, 4);
  return Buffer.concat([header, value]);
};
const whole = (...more: Buffer[]) => Buffer.concat([encodeSpec(SPEC).bytes, ...more]);
const without = (part: Partial<LaunchSpec>, ...more: Buffer[]) =>
  Buffer.concat([encodeSpec({ ...SPEC, ...part }).bytes, ...more]);

describe.skipIf(!isRoot)('a malformed spec fails step receive (needs root)', () => {
  it.each<[string, Buffer]>([
    ['nothing at all', Buffer.alloc(0)],
    ['no argument', without({ argv: [] })],
    ['an empty argument', without({ argv: [''] })],
    ['an unknown tag', whole(record(18))],
    ['tag zero', whole(record(0))],
    ['a header that is not whole', whole(Buffer.alloc(3))],
    ['a record that is longer than the rest', whole(Buffer.from('0100000005000000ff', 'hex'))],
    ['a reserved field that is set', whole(record(1, '61', 1))],
    ['a second directory', whole(record(3, '2f'))],
    ['a second uid', whole(record(4, 'e9030000'))],
    ['a relative directory', without({ workingDirectory: 'tmp' })],
    ['a NUL in an argument', whole(record(1, '610062'))],
    ['uid 0', without({ credentials: { uid: 0, gid: 5, groups: [] } })],
    ['gid 0', without({ credentials: { uid: 5, gid: 0, groups: [] } })],
    ['group 0', without({ credentials: { uid: 5, gid: 5, groups: [0] } })],
    ['the reserved uid', without({ credentials: { uid: 0xffffffff, gid: 5, groups: [] } })],
    ['root without credentials', without({ credentials: undefined })],
    ['a uid without a gid', without({ credentials: undefined }, record(4, 'e9030000'))],
    ['a group without credentials', without({ credentials: undefined }, record(6, 'e9030000'))],
    ['a short integer', whole(record(10, '0000'))],
    ['a descriptor that was not sent', whole(record(11, '00000000'))],
    ['a rule without a ruleset', whole(record(15, '00000000000000000000000000000000'))],
    ['an unknown profile', without({}, record(16, '03000000'))],
    ['a target below 3', whole(record(17, '0000000002000000'))],
    ['a relative path to hide', whole(record(12, '746d70'))],
  ])('%s', async (_, bytes) => {
    const { status, stdout, code } = await launchRaw(bytes);
    expect(status).toMatchObject({ step: 'receive', errno: EINVAL });
    expect(code).toBe(125);
    expect(stdout).toBe('');
  });
});

describe.skipIf(!isRoot)('castellan-launch (needs root)', () => {
  it('gives every privilege up', async () => {
    const { status, stdout } = await launch({
      argv: ['cat', '/proc/self/status'],
      credentials: { uid: 20_201, gid: 20_202, groups: [44, 20_203] },
    });
    expect(status).toBeUndefined();
    expect(stdout).toMatch(/^Uid:\t20201\t20201\t20201\t20201$/m);
    expect(stdout).toMatch(/^Gid:\t20202\t20202\t20202\t20202$/m);
    expect(stdout).toMatch(/^Groups:\t44 20203 $/m);
    for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
      expect(stdout).toMatch(new RegExp(`^Cap${set}:\t0+$`, 'm'));
    expect(stdout).toMatch(/^NoNewPrivs:\t1$/m);
    expect(stdout).toMatch(/^Seccomp:\t2$/m);
  });

  it('takes supplementary groups away from numeric users too', async () => {
    expect((await launch({ argv: ['id', '-G'] })).stdout).toBe('20202\n');
  });

  it('leaves the standard streams and the kept descriptors, at their numbers, whatever they were before', async () => {
    const files = [openSync('/etc/hostname', 'r'), openSync('/etc/passwd', 'r')];
    try {
      const [hostname = 0, passwd = 0] = files;
      const { stdout, status } = await launch({
        argv: ['sh', '-c', 'for n in 3 4 9; do readlink /proc/$$/fd/$n; done; ls /proc/$$/fd | tr "\\n" " "'],
        keep: [
          { descriptor: hostname, target: 4 },
          { descriptor: passwd, target: 3 },
          { descriptor: hostname, target: 9 },
        ],
      });
      expect(status).toBeUndefined();
      expect(stdout).toMatch(/^\/etc\/passwd\n\/etc\/hostname\n\/etc\/hostname\n0 1 2 3 4 9 /);
    } finally {
      for (const file of files) closeSync(file);
    }
  });

  it.each([
    ['is not there', { argv: ['/nonexistent/x'] }, 'execute', 2],
    ['is not in PATH', { argv: ['no-such-command'] }, 'execute', 2],
    ['may not be executed', { argv: ['/etc/passwd'] }, 'execute', 13],
    [
      'would be found in the current directory only',
      { argv: ['true'], environment: ['PATH=:'], workingDirectory: '/usr/bin' },
      'execute',
      2,
    ],
    ['has no directory', { workingDirectory: '/nonexistent' }, 'directory', 2],
    ['may not enter its directory', { workingDirectory: '/root' }, 'directory', 13],
  ] as const)('says so when the command %s', async (_, part, step, errno) => {
    expect(await launch(part)).toMatchObject({ status: { step, errno }, code: 125 });
  });

  it.each([
    ['a directory', '/tmp', 'ls -A /tmp', ''],
    ['a file', '/etc/hostname', 'cat /etc/hostname', ''],
    ['nothing, where there is nothing', '/nonexistent/a', 'echo on', 'on\n'],
  ])('hides %s', async (_, path, command, expected) => {
    expect(await launch({ argv: ['sh', '-c', command], mounts: [{ kind: 'hide', path }] })).toMatchObject({
      stdout: expected,
      code: 0,
    });
  });

  it('keeps the network role from making processes', async () => {
    const { stdout } = await launch({
      argv: ['sh', '-c', 'echo alone; (echo child)'],
      seccomp: 'network-role',
    });
    expect(stdout).toBe('alone\n');
  });
});

describe('the order of the steps', () => {
  it('is the same in launch.c, native/README.md and launch/spec.ts', () => {
    const calls = [
      ['receive', 'receive_spec('],
      ['session', 'start_session('],
      ['namespaces', 'enter_namespaces('],
      ['mounts', 'make_mounts('],
      ['limits', 'set_limits('],
      ['groups', 'set_groups('],
      ['gid', 'set_gid('],
      ['bounding', 'clear_bounding_set('],
      ['uid', 'set_uid('],
      ['regain', 'refuse_regain('],
      ['capabilities', 'clear_capabilities('],
      ['privileges', 'fix_privileges('],
      ['directory', 'chdir('],
      ['landlock', 'restrict_files('],
      ['descriptors', 'keep_descriptors('],
      ['seccomp', 'filter_system_calls('],
      ['execute', 'execute(&'],
    ] as const;
    const main = readSource('native/launch/launch.c').split('int main(')[1] ?? '';
    const places = calls.map(([, call]) => main.indexOf(call));
    expect(places.every((place) => place > 0)).toBe(true);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    expect(calls.map(([step]) => step)).toEqual([...LAUNCH_STEPS]);
  });
});
