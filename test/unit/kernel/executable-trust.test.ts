import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  createExecutableTrust,
  type OpenedExecutable,
  openExecutable,
} from '../../../src/kernel/executable-trust.ts';

let directory: string;
let undo: AsyncDisposableStack;

beforeEach(() => {
  undo = new AsyncDisposableStack();
  directory = mkdtempSync(join(tmpdir(), 'castellan-trust-'));
  undo.defer(() => rmSync(directory, { recursive: true }));
});
afterEach(() => undo.disposeAsync());

/** Asked about files that are open already. */
function trustOf(...limits: Parameters<typeof createExecutableTrust>) {
  const trust = createExecutableTrust(...limits);
  return (path: string, executable: OpenedExecutable) =>
    trust(path, { fingerprint: executable.fingerprint, open: async () => executable });
}

const digest = (content: string): string => createHash('sha256').update(content).digest('hex');

/** Opens a file the way openExecutable opens a process's. */
async function opened(content: string, name = 'tool'): Promise<OpenedExecutable> {
  const path = join(directory, name);
  writeFileSync(path, content);
  const file = undo.use(await open(path, 'r'));
  const { dev, ino, size, mtimeNs, ctimeNs } = await file.stat({ bigint: true });
  const fingerprint = [dev, ino, size, mtimeNs, ctimeNs].join(':');
  return { fingerprint, bytes: size, file, [Symbol.asyncDispose]: async () => undefined };
}

test('openExecutable opens what the process runs', async () => {
  await using executable = await openExecutable(process.pid);
  const { size, ino } = await executable.file.stat({ bigint: true });
  expect(executable.bytes).toBe(size);
  expect(executable.fingerprint).toContain(`:${ino}:${size}:`);
});

test('the first hash at a path is held against later ones; other paths have their own', async () => {
  const trust = trustOf();
  const [first, second] = [await opened('one', 'a'), await opened('two', 'b')];
  expect(await trust('/path', first)).toBe(digest('one'));
  await expect(trust('/path', second)).rejects.toThrow('/path has changed since its first use');
  expect(await trust('/other', second)).toBe(digest('two'));
  expect(await trust('/path', first)).toBe(digest('one'));
});

test('first uses at the same time read the file once', async () => {
  const trust = trustOf();
  const executable = await opened('x'.repeat(300_000));
  const read = vi.spyOn(executable.file, 'read');
  const all = await Promise.all(Array.from({ length: 10 }, (_, index) => trust(`/path${index}`, executable)));
  expect(new Set(all)).toEqual(new Set([digest('x'.repeat(300_000))]));
  expect(read).toHaveBeenCalledTimes(3);
});

test('a forgotten hash is made again, a forgotten path does not exist', async () => {
  const trust = trustOf({ hashes: 1, paths: 2 });
  const [first, second] = [await opened('one', 'a'), await opened('two', 'b')];
  const read = vi.spyOn(first.file, 'read');
  await trust('/a', first);
  await trust('/b', second);
  await trust('/a', first);
  expect(read).toHaveBeenCalledTimes(4);
  await expect(trust('/c', second)).rejects.toThrow('too many different executables');
  expect(await trust('/a', first)).toBe(digest('one'));
});

test('a file that is not what was opened is no hash at all, and is not remembered as one', async () => {
  const trust = trustOf();
  const executable = await opened('one');
  const changed = { ...executable, fingerprint: '0:0:0:0:0' };
  await expect(trust('/path', changed)).rejects.toThrow('changed while it was read');
  expect(await trust('/path', executable)).toBe(digest('one'));
});

test('a file too large for a program is not read', async () => {
  const executable = await opened('');
  truncateSync(join(directory, 'tool'), 2 ** 30 + 1);
  const large = { ...executable, bytes: BigInt(2 ** 30 + 1) };
  const read = vi.spyOn(executable.file, 'read');
  await expect(trustOf()('/path', large)).rejects.toThrow('too large');
  expect(read).not.toHaveBeenCalled();
});

test('other work goes on while a large file is read', async () => {
  const executable = await opened('');
  const bytes = 64 * 1024 * 1024;
  truncateSync(join(directory, 'tool'), bytes);
  const { dev, ino, size, mtimeNs, ctimeNs } = await executable.file.stat({ bigint: true });
  const fingerprint = [dev, ino, size, mtimeNs, ctimeNs].join(':');
  let turns = 0;
  const count = setInterval(() => (turns += 1), 0);
  await trustOf()('/path', { ...executable, bytes: size, fingerprint });
  clearInterval(count);
  // A read at a time; were it one piece of work, there would be no turn at all.
  expect(turns).toBeGreaterThan(10);
});
