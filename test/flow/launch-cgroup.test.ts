/** Launches into a cgroup: born in it where the kernel lets us, and otherwise joining it. */
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CgroupUnavailable, createSandboxCgroup, type SandboxCgroup } from '../../src/kernel/cgroup.ts';
import { posix } from '../../src/kernel/posix.ts';
import { confine } from '../../src/launch/confine.ts';
import type { CgroupPlace } from '../../src/launch/spec.ts';
import { isRoot, makeCell, type TestCell } from '../fakes/cell.ts';

describe.skipIf(!isRoot)('launches into a cgroup (needs root)', () => {
  let world: TestCell;
  let cgroup: SandboxCgroup | undefined;
  beforeEach(async () => {
    world = makeCell();
    cgroup = await createSandboxCgroup(`castellan-test-${process.pid}`, {}, []).catch((error: unknown) => {
      if (error instanceof CgroupUnavailable) return undefined;
      throw error;
    });
  });
  afterEach(async () => {
    await cgroup?.[Symbol.asyncDispose]();
    world[Symbol.dispose]();
  });

  async function launch(script: string, place: CgroupPlace | undefined) {
    const spec = confine({ ...world.cell, cgroup: place }, { argv: ['/bin/sh', '-c', script] });
    const process = await world.launcher.launch(spec, { kind: 'pipes' });
    if (process.io.kind !== 'pipes') throw new Error('no pipes');
    return { process, io: process.io };
  }

  it('the command is a member from the first, with the streams, directory and signals of any other', async () => {
    const { process, io } = await launch(
      'cat /proc/self/cgroup; pwd; grep -E "^Sig(Blk|Ign):" /proc/self/status; ls /proc/self/fd | wc -l; cat; exit 7',
      cgroup,
    );
    // Where none is delegated there is none to be a member of.
    const members = await cgroup?.list();
    expect(members).toEqual(cgroup && expect.arrayContaining([process.pid]));
    io.stdin.end('input');
    const lines = (await text(io.stdout)).split('\n');
    if (cgroup !== undefined) expect(lines.join(' ')).toContain(`/${basename(cgroup.path)} `);
    expect(lines.slice(-5)).toEqual([
      world.work,
      'SigBlk:\t0000000000000000',
      'SigIgn:\t0000000000000000',
      // Its three, and that of the listing itself.
      '4',
      'input',
    ]);
    expect(await process.exited).toEqual({ exitCode: 7, signal: undefined });
  });

  it('the signal that ended it is told, and its group is signalled as a whole', async () => {
    const { process, io } = await launch('sleep 1012 & echo up; wait', cgroup);
    io.stdout.once('data', () => process.signal('SIGKILL'));
    expect(await process.exited).toEqual({ exitCode: 137, signal: 'SIGKILL' });
    expect(await text(io.stdout)).toBe('');
  });

  it('leaves neither a descriptor nor a zombie behind', async () => {
    const open = () => readdirSync('/proc/self/fd').length;
    const once = async () => (await launch('true', cgroup)).process.exited;
    await once();
    const before = open();
    for (let round = 0; round < 10; round++) await once();
    await expect.poll(open).toBe(before);
    expect(readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim()).toBe('');
  });

  it('has nothing to join where it was born in it', async () => {
    if (cgroup === undefined) return;
    const file = join(world.directory, 'procs');
    writeFileSync(file, '');
    const procs = openSync(file, 'w');
    try {
      const { process, io } = await launch('cat /proc/self/cgroup', { directory: cgroup.directory, procs });
      expect(await text(io.stdout)).toContain(`/${basename(cgroup.path)}\n`);
      await process.exited;
      expect(readFileSync(file, 'utf8')).toBe('');
    } finally {
      closeSync(procs);
    }
  });

  it('joins by itself where it cannot be born there', async () => {
    const file = join(world.directory, 'procs');
    writeFileSync(file, '');
    const [directory, procs] = [openSync(world.directory, 'r'), openSync(file, 'w')];
    try {
      expect(() => posix().spawnInto('/bin/true', '', [0, 1, 2], directory)).toThrow(
        expect.objectContaining({ syscall: 'clone3' }),
      );
      const { process, io } = await launch('echo up', { directory, procs });
      expect(await text(io.stdout)).toBe('up\n');
      await process.exited;
      expect(readFileSync(file, 'utf8')).toBe('0');
    } finally {
      closeSync(directory);
      closeSync(procs);
    }
  });

  it.each([
    ['a program that is not there', '/nonexistent', [0, 1, 2], 'ENOENT'],
    ['one that may not be executed', '/etc/passwd', [0, 1, 2], 'EACCES'],
    ['a stream in the place of another', '/bin/true', [0, 2, 2], 'EINVAL'],
  ] as const)('%s is not started', (_, program, streams, code) => {
    expect(() => posix().spawnInto(program, '', streams, cgroup?.directory ?? 0)).toThrow(
      expect.objectContaining({ code, syscall: 'spawn' }),
    );
  });
});
