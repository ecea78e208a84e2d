/** ownTree: the walk that gives a prepared workspace to the sandbox user, against what a previous tenant may have left in it. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { posix } from '../../src/kernel/posix.ts';
import { isRoot } from '../fakes/cell.ts';

const O_PATH = 0o10000000;
const [TENANT, AGENT, STRANGER] = [20_301, 20_302, 20_303];
const ROUNDS = 20;

/** A directory of the tenant's, and one beside it that nobody may touch. */
function makeTree() {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-own-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o755);
  const [tree, outside] = [join(directory, 'tree'), join(directory, 'outside')];
  for (const path of [tree, outside]) mkdirSync(path);
  chownSync(tree, TENANT, TENANT);
  writeFileSync(join(outside, 'secret'), 'secret', { mode: 0o600 });
  return { tree, outside, secret: join(outside, 'secret') };
}

function put(path: string, owner = TENANT, mode = 0o644): string {
  writeFileSync(path, 'x');
  chownSync(path, owner, owner);
  chmodSync(path, mode);
  return path;
}

async function own(tree: string, uid = AGENT, survey: 0 | 1 = 0) {
  const descriptor = openSync(tree, O_PATH);
  try {
    return await posix().ownTree(descriptor, uid, uid, 4, survey);
  } finally {
    closeSync(descriptor);
  }
}

const ownerOf = (path: string) => lstatSync(path).uid;

describe.skipIf(!isRoot)('ownTree (needs root)', () => {
  it('changes everything below, and at the second time nothing', async () => {
    const { tree } = makeTree();
    mkdirSync(join(tree, 'a/b'), { recursive: true });
    const paths = ['a', 'a/b']
      .map((name) => join(tree, name))
      .concat(put(join(tree, 'f')), put(join(tree, 'a/b/g'), STRANGER));
    const first = await own(tree);
    expect(first).toMatchObject({ seen: 5, changed: 5 });
    expect(first.failure).toBeUndefined();
    for (const path of [tree, ...paths]) expect(statSync(path)).toMatchObject({ uid: AGENT, gid: AGENT });
    const before = paths.map((path) => statSync(path, { bigint: true }).ctimeNs);
    expect(await own(tree)).toMatchObject({ seen: 5, changed: 0 });
    expect(paths.map((path) => statSync(path, { bigint: true }).ctimeNs)).toEqual(before);
  });

  it('changes links themselves, and never what they lead to', async () => {
    const { tree, outside, secret } = makeTree();
    symlinkSync(secret, join(tree, 'file-link'));
    symlinkSync(outside, join(tree, 'directory-link'));
    symlinkSync('/nowhere', join(tree, 'dangling'));
    lutimesSync(join(tree, 'dangling'), 1, 1);
    expect((await own(tree)).failure).toBeUndefined();
    for (const name of ['file-link', 'directory-link', 'dangling'])
      expect(ownerOf(join(tree, name))).toBe(AGENT);
    expect([ownerOf(outside), ownerOf(secret)]).toEqual([0, 0]);
  });

  it('leaves files with further names to whom they belong, unless they were the tenant’s', async () => {
    const { tree, outside, secret } = makeTree();
    linkSync(secret, join(tree, 'stolen'));
    linkSync(put(join(outside, 'of-a-stranger'), STRANGER), join(tree, 'foreign'));
    put(join(tree, 'one'));
    linkSync(join(tree, 'one'), join(tree, 'two'));
    expect(await own(tree)).toMatchObject({ linked: 2 });
    expect(['stolen', 'foreign', 'one', 'two'].map((name) => ownerOf(join(tree, name)))).toEqual([
      0,
      STRANGER,
      AGENT,
      AGENT,
    ]);
  });

  it('leaves no set-id bit and no capability on what it gives away, and no device to anybody', async () => {
    const { tree } = makeTree();
    const paths = [0o4755, 0o2755, 0o6755, 0o2644].map((mode) => put(join(tree, mode.toString(8)), 0, mode));
    const capable = put(join(tree, 'capable'), 0, 0o755);
    // security.capability, version 2, CAP_NET_RAW permitted and effective: capabilities(7).
    const value = '0x0100000200200000000000000000000000000000';
    execFileSync('python3', [
      '-c',
      `import os,sys; os.setxattr(sys.argv[1], 'security.capability', bytes.fromhex(sys.argv[2][2:]))`,
      capable,
      value,
    ]);
    execFileSync('mknod', [join(tree, 'null'), 'c', '1', '3']);
    expect(await own(tree)).toMatchObject({ devices: 1 });
    for (const path of paths) {
      expect(statSync(path).mode & 0o7000, path).toBe(0);
      expect(ownerOf(path)).toBe(AGENT);
    }
    const left = execFileSync('python3', ['-c', 'import os,sys; print(os.listxattr(sys.argv[1]))', capable]);
    expect(left.toString()).not.toContain('capability');
    expect(ownerOf(join(tree, 'null'))).toBe(0);
  });

  it('stays on its mount, and counts the others', async () => {
    const { tree } = makeTree();
    for (const name of ['tmp', 'read-only']) mkdirSync(join(tree, name));
    const script = `mount -t tmpfs none "$1/tmp" && touch "$1/tmp/inner" && mount -t tmpfs -o ro none "$1/read-only" && exec "$2" --input-type=module -e '
      import { createRequire } from "node:module"; import { openSync, statSync } from "node:fs";
      const posix = createRequire("/")(process.argv[1]); const tree = process.argv[2];
      const counts = await posix.ownTree(openSync(tree, ${O_PATH}), ${AGENT}, ${AGENT}, 2, 0);
      console.log(JSON.stringify({ ...counts, inner: statSync(tree + "/tmp/inner").uid }));' "$3" "$1"`;
    const addon = join(import.meta.dirname, '../../build/posix.node');
    const printed = execFileSync('unshare', [
      '--mount',
      'sh',
      '-ec',
      script,
      'sh',
      tree,
      process.execPath,
      addon,
    ]);
    expect(JSON.parse(printed.toString())).toMatchObject({
      mounts: 2,
      readOnlyMounts: 1,
      inner: 0,
      changed: 1,
    });
  });

  it('takes wide and deep trees with few descriptors', async () => {
    const { tree } = makeTree();
    const script = `import os,sys
os.chdir(sys.argv[1])
for i in range(20000): open('w%d' % i, 'w').close()
for i in range(3000):
    os.mkdir('d'); os.chdir('d')`;
    execFileSync('python3', ['-c', script, tree]);
    const counts = await own(tree);
    expect(counts.failure).toBeUndefined();
    expect(counts).toMatchObject({ seen: 23_001, changed: 23_001 });
    expect(await own(tree)).toMatchObject({ changed: 0 });
    execFileSync('rm', ['-rf', tree]);
  });

  it('only looks when asked to survey', async () => {
    const { tree } = makeTree();
    put(join(tree, 'f'));
    expect((await own(tree, TENANT, 1)).changed).toBe(0);
    expect((await own(tree, AGENT, 1)).changed).toBe(1);
    expect(ownerOf(join(tree, 'f'))).toBe(TENANT);
    put(join(tree, 'g'), STRANGER);
    expect((await own(tree, TENANT, 1)).changed).toBe(1);
  });

  it('touches nothing outside while the previous tenant exchanges names', async () => {
    const { tree, outside, secret } = makeTree();
    const swap = `import os,sys,ctypes
os.setgid(${TENANT}); os.setuid(${TENANT}); os.chdir(sys.argv[1])
libc = ctypes.CDLL(None)
for i in range(40):
    os.mkdir('d%d' % i)
    for j in range(20): open('d%d/secret' % i, 'w').close() if j == 0 else open('d%d/f%d' % (i, j), 'w').close()
    os.symlink(sys.argv[2], 'l%d' % i)
    open('f%d' % i, 'w').close(); os.symlink(sys.argv[2] + '/secret', 's%d' % i)
print('ready', flush=True)
while True:
    for i in range(40):
        libc.renameat2(-100, b'd%d' % i, -100, b'l%d' % i, 2)
        libc.renameat2(-100, b'f%d' % i, -100, b's%d' % i, 2)`;
    const tenant = spawn('python3', ['-c', swap, tree, outside], { stdio: ['ignore', 'pipe', 'inherit'] });
    const gone = once(tenant, 'exit');
    try {
      await once(tenant.stdout, 'data');
      for (let round = 0; round < ROUNDS; round++) {
        const { failure } = await own(tree, round % 2 === 0 ? AGENT : TENANT);
        expect(failure).toBeUndefined();
        expect([ownerOf(outside), ownerOf(secret)]).toEqual([0, 0]);
      }
    } finally {
      tenant.kill('SIGKILL');
      await gone;
    }
  });
});
