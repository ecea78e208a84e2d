/** Links below the root of another process, which whoever made them chose to be traps. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openForeignRoot } from '../../../src/kernel/foreign-root.ts';

const isRoot = process.getuid?.() === 0;
let directory: string;
let child: ChildProcess | undefined;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'castellan-root-')));
});
afterEach(async () => {
  if (child?.kill('SIGKILL')) await once(child, 'exit');
  child = undefined;
  rmSync(directory, { recursive: true });
});

/** A process whose root is `jail`. */
async function prisoner(jail: string): Promise<number> {
  // Static, as there is nothing in its root.
  const script =
    'import os,sys,time; os.chroot(sys.argv[1]); os.chdir("/"); print("in", flush=True); time.sleep(1000)';
  child = spawn('python3', ['-c', script, jail], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return child.pid as number;
}

describe.skipIf(!isRoot)('the root of another process (chroot takes root)', () => {
  test.each<[string, (jail: string) => void, string | undefined]>([
    ['a file', (jail) => writeFileSync(join(jail, 'bin/name'), ''), '/bin/name'],
    ['nothing', () => {}, undefined],
    ['a link', (jail) => symlinkSync('real', join(jail, 'bin/name')), '/bin/real'],
    ['an absolute link', (jail) => symlinkSync('/bin/real', join(jail, 'bin/name')), '/bin/real'],
    [
      'a link that climbs',
      (jail) => symlinkSync('../../../../bin/real', join(jail, 'bin/name')),
      '/bin/real',
    ],
    [
      'a link to what lies outside alone',
      (jail) => symlinkSync(join(jail, '../outside'), join(jail, 'bin/name')),
      undefined,
    ],
    ['a link to itself', (jail) => symlinkSync('name', join(jail, 'bin/name')), undefined],
    ['a pipe that nobody writes', (jail) => execFileSync('mkfifo', [join(jail, 'bin/name')]), '/bin/name'],
    [
      'a link by way of a descriptor',
      (jail) => symlinkSync('/proc/self/root/bin/real', join(jail, 'bin/name')),
      undefined,
    ],
  ])('%s', async (_, make, want) => {
    const jail = join(directory, 'jail');
    mkdirSync(join(jail, 'bin'), { recursive: true });
    writeFileSync(join(jail, 'bin/real'), '');
    writeFileSync(join(directory, 'outside'), '');
    make(jail);
    using root = openForeignRoot(await prisoner(jail));
    expect(await root.follow('/bin/name')).toBe(want && jail + want);
  });

  test('links of /proc are not followed, even where there is one', async () => {
    using root = openForeignRoot(process.pid);
    for (const path of ['/proc/self/exe', '/proc/self/root/bin/sh', '/proc/self/cwd', '/dev/fd/0/..'])
      expect(await root.follow(path)).toBeUndefined();
  });

  test('the root is the one that was opened, whatever takes its name', async () => {
    const jail = join(directory, 'jail');
    mkdirSync(jail);
    writeFileSync(join(jail, 'name'), '');
    using root = openForeignRoot(await prisoner(jail));
    renameSync(jail, join(directory, 'moved'));
    mkdirSync(jail);
    expect(await root.follow('/name')).toBe(join(directory, 'moved/name'));
  });

  test.each([
    ['a NUL', '/bin\0/sh'],
    ['more than a path', `/${'p'.repeat(5000)}`],
    ['nothing', ''],
  ])('%s leads nowhere', async (_, path) => {
    using root = openForeignRoot(process.pid);
    expect(await root.follow(path)).toBeUndefined();
  });

  test('nothing is followed once it is given back', async () => {
    const root = openForeignRoot(process.pid);
    const [first, second] = [root.follow('/proc'), root.follow('/proc')];
    root[Symbol.dispose]();
    expect([await first, await second]).toEqual(['/proc', undefined]);
  });
});
