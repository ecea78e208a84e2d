/** The directory that network-init gives to the network role, prepared with the capabilities of its container. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createFenceWorld, type FenceWorld, onlyCapabilities, type Ran } from '../fakes/fence-world.ts';
import { CASTELLAN } from '../fakes/world.ts';
import { isRoot } from './sandbox.ts';

const PROXY_UID = 1337;
const AGENT_UID = 20_101;
const FS_GROUP = 20_150;
const GIVEN = `${PROXY_UID}:${PROXY_UID} 711`;

/** Owner, group and permissions, as one word. */
function facts(path: string): string {
  const { uid, gid, mode } = lstatSync(path);
  return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`;
}

describe.skipIf(!isRoot)('the state directory, as root', () => {
  let world: FenceWorld;
  let base: string;
  let path: string;
  beforeAll(async () => {
    world = await createFenceWorld({ routes: 'none' });
  });
  afterAll(() => world[Symbol.asyncDispose]());
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'castellan-state-'));
    chmodSync(base, 0o755);
    mkdirSync(join(base, 'real'));
    path = join(base, 'state');
  });
  afterEach(() => rmSync(base, { recursive: true }));

  function make(uid: number, gid: number, mode: number): void {
    mkdirSync(path);
    chownSync(path, uid, gid);
    chmodSync(path, mode);
  }
  function put(name: string, uid: number): void {
    writeFileSync(join(path, name), '');
    chownSync(join(path, name), uid, uid);
  }
  function hold(name: string, uid: number): void {
    make(0, 0, 0o777);
    put(name, uid);
  }
  const listing = (): string =>
    spawnSync('find', [base, '-printf', '%p %U:%G %m\n'], { encoding: 'utf8' }).stdout;
  const give = (directory = path, capabilities?: readonly string[]): Ran =>
    world.networkInit(['--state-directory', directory], capabilities);

  test.each([
    ['an emptyDir', 0, 0, 0o777],
    ['an emptyDir of a pod with an fsGroup', 0, FS_GROUP, 0o2777],
    ['root’s own, closed', 0, 0, 0o700],
    ['root’s own, closed to root', 0, 0, 0o000],
    ['the network role’s, open to all', PROXY_UID, PROXY_UID, 0o777],
    ['the network role’s, closed to root', PROXY_UID, PROXY_UID, 0o700],
    ['the network role’s, of another group', PROXY_UID, FS_GROUP, 0o711],
    ['sticky', 0, 0, 0o1777],
  ])('%s becomes the network role’s', (_, uid, gid, mode) => {
    make(uid, gid, mode);
    expect(give()).toMatchObject({ code: 0, stdout: expect.stringContaining(`${path} given to it`) });
    expect(facts(path)).toBe(GIVEN);
    expect(give()).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`${path} was given already to it`),
    });
    expect(facts(path)).toBe(GIVEN);
  });

  test('its group can be another', () => {
    make(0, 0, 0o777);
    const ran = world.networkInit(['--state-directory', path, '--proxy-gid', String(FS_GROUP)]);
    expect(ran.code).toBe(0);
    expect(facts(path)).toBe(`${PROXY_UID}:${FS_GROUP} 711`);
  });

  test('a file of the network role’s from an earlier start stays', () => {
    make(PROXY_UID, PROXY_UID, 0o777);
    put('control.sock', PROXY_UID);
    expect(give().code).toBe(0);
    expect(facts(path)).toBe(GIVEN);
    expect(facts(join(path, 'control.sock'))).toMatch(/^1337:/);
  });

  test.each([
    ['is the agent’s', () => make(AGENT_UID, AGENT_UID, 0o777), /belongs to uid 20101/],
    ['holds a file of the agent’s', () => hold('control.sock', AGENT_UID), /control\.sock of uid 20101/],
    ['holds a file of root’s', () => hold('etc', 0), /holds etc of uid 0/],
    ['is a file', () => writeFileSync(path, ''), /ENOTDIR/],
    ['is missing', () => {}, /ENOENT/],
    ['is a link', () => symlinkSync('real', path), /symbolic link/],
  ])('one that %s is refused, and stays as it was', (_, furnish, reason) => {
    furnish();
    const before = listing();
    const ran = give();
    expect(ran.code).toBe(104);
    expect(ran.stderr).toMatch(reason);
    expect(listing()).toBe(before);
  });

  test('one below a link is refused', () => {
    symlinkSync('real', join(base, 'link'));
    mkdirSync(join(base, 'real/state'));
    expect(give(join(base, 'link/state'))).toMatchObject({
      code: 104,
      stderr: expect.stringContaining('symbolic link'),
    });
    expect(facts(join(base, 'real/state'))).toBe('0:0 755');
  });

  test('what the agent put into the network role’s closed directory keeps it closed to the agent', () => {
    make(0, 0, 0o777);
    put('control.sock', AGENT_UID);
    chownSync(path, PROXY_UID, PROXY_UID);
    chmodSync(path, 0o733);
    expect(give().code).toBe(104);
    expect(facts(path)).toBe('0:0 700');
  });

  test('the root of the file system is refused, and stays as it was', () => {
    const before = facts('/');
    expect(give('/').code).toBe(104);
    expect(facts('/')).toBe(before);
  });

  test('CAP_CHOWN is named where it is missing', () => {
    make(0, 0, 0o777);
    expect(give(path, ['net_admin'])).toMatchObject({ code: 112, stderr: expect.stringContaining('CHOWN') });
    expect(facts(path)).not.toContain('1337');
  });

  test('a read-only volume is refused', () => {
    make(0, 0, 0o777);
    const mounted = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
    const castellan = ['setpriv', ...onlyCapabilities(['net_admin', 'chown']), ...CASTELLAN_STATE, path];
    const ran = world.run(['unshare', '--mount', 'sh', '-c', mounted, path, ...castellan]);
    expect(ran).toMatchObject({ code: 104, stderr: expect.stringContaining('EROFS') });
  });

  test('the agent passes through to a socket, and can do nothing else there', () => {
    make(0, FS_GROUP, 0o2777);
    expect(give().code).toBe(0);
    const args = [path, String(PROXY_UID), String(AGENT_UID), String(FS_GROUP)];
    const { stdout, stderr } = spawnSync('python3', ['-c', AGENT_ATTEMPTS, ...args], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      connect: 'done',
      list: 'EACCES',
      create: 'EACCES',
      mkdir: 'EACCES',
      bind: 'EACCES',
      symlink: 'EACCES',
      rename: 'EACCES',
      unlink: 'EACCES',
      chmod: 'EPERM',
      'another’s name': 'EACCES',
    });
  });
});

const CASTELLAN_STATE = [CASTELLAN, 'network-init', '--state-directory'];

/** The network role's socket, and what the agent can make of it; the agent has the pod's fsGroup. */
const AGENT_ATTEMPTS = `
import errno, json, os, socket, sys
path, proxy, agent, group = sys.argv[1], *map(int, sys.argv[2:])
name = path + '/control.sock'
server = socket.socket(socket.AF_UNIX)
server.bind(name)
server.listen()
os.chown(name, proxy, proxy)
os.chmod(name, 0o666)
os.setgroups([group])
os.setgid(agent)
os.setuid(agent)
def attempt(work):
    try:
        work()
        return 'done'
    except OSError as error:
        return errno.errorcode[error.errno]
print(json.dumps({
    'connect': attempt(lambda: socket.socket(socket.AF_UNIX).connect(name)),
    'list': attempt(lambda: os.listdir(path)),
    'create': attempt(lambda: open(path + '/new', 'x')),
    'mkdir': attempt(lambda: os.mkdir(path + '/new')),
    'bind': attempt(lambda: socket.socket(socket.AF_UNIX).bind(path + '/new')),
    'symlink': attempt(lambda: os.symlink('/etc', path + '/new')),
    'rename': attempt(lambda: os.rename(name, path + '/new')),
    'unlink': attempt(lambda: os.unlink(name)),
    'chmod': attempt(lambda: os.chmod(path, 0o777)),
    'another’s name': attempt(lambda: os.rename(path, path + '.old')),
}))
`;
