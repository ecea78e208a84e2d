import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseManifest } from '../../../src/config/bundle-manifest.ts';
import { copySelf, copySelfAs, programPath } from '../../../src/start/copy-self.ts';

const UID = process.getuid?.() ?? -1;
const FILES = { 'bin/castellan': 'program', 'lib/programs/node': 'node', 'share/table': '' };

let place: string;
let root: string;
let target: string;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'castellan-copy-'));
  root = join(place, 'bundle');
  target = join(place, 'volume');
  makeBundle();
});
afterEach(() => rmSync(place, { recursive: true }));

function makeBundle(version = '1'): void {
  const files = Object.entries(FILES).map(([path, text]) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
    const sha256 = createHash('sha256').update(text).digest('hex');
    return { path, size: text.length, executable: path.startsWith('bin/'), sha256 };
  });
  writeFileSync(
    join(root, 'manifest.json'),
    JSON.stringify({ format: 1, version, architecture: 'x64', files }),
  );
}

const copy = () => copySelf(root, target, UID);
const copies = () => readdirSync(target).filter((name) => name.startsWith('.castellan-'));

test('copies everything, for any uid to run and none to change, whatever the umask', async () => {
  const before = process.umask(0o077);
  try {
    expect(await copy()).toEqual({ path: join(target, copies()[0] ?? ''), version: '1', copied: true });
  } finally {
    process.umask(before);
  }
  expect(readFileSync(join(target, 'bin/castellan'), 'utf8')).toBe('program');
  const mode = (path: string) => statSync(join(target, path)).mode & 0o777;
  expect([mode('.'), mode('bin/castellan'), mode(`${copies()[0]}/lib/programs`)]).toEqual([
    0o755, 0o555, 0o755,
  ]);
  expect(mode(`${copies()[0]}/share/table`)).toBe(0o444);
});

test('a second copy is none, and several at once are one', async () => {
  await Promise.all([copy(), copy(), copy()]);
  expect(await copy()).toMatchObject({ copied: false });
  expect(readdirSync(target).sort()).toEqual([...copies(), 'bin']);
  expect(copies()).toHaveLength(1);
});

test('a later version takes the link, and leaves the earlier one to who runs it', async () => {
  await copy();
  makeBundle('2');
  expect(await copy()).toMatchObject({ version: '2', copied: true });
  expect(copies()).toHaveLength(2);
  expect(readlinkSync(join(target, 'bin'))).toBe(`${(await copy()).path.slice(target.length + 1)}/bin`);
});

describe('a copy that is not whole is made again', () => {
  test.each<[string, (path: string) => void]>([
    ['a file is missing', (path) => rmSync(join(path, 'share/table'))],
    ['a file has other bytes', (path) => replace(join(path, 'bin/castellan'), 'PROGRAM', 0o555)],
    ['a file cannot be run', (path) => chmodSync(join(path, 'bin/castellan'), 0o444)],
    [
      'a file is a link',
      (path) => {
        writeFileSync(join(place, 'elsewhere'), 'program', { mode: 0o555 });
        rmSync(join(path, 'bin/castellan'));
        symlinkSync(join(place, 'elsewhere'), join(path, 'bin/castellan'));
      },
    ],
    ['others may write it', (path) => chmodSync(path, 0o777)],
    [
      'the whole is a link',
      (path) => {
        const elsewhere = join(place, 'elsewhere');
        mkdirSync(elsewhere);
        rmSync(path, { recursive: true });
        symlinkSync(elsewhere, path);
      },
    ],
  ])('%s', async (_name, spoil) => {
    const { path } = await copy();
    spoil(path);
    expect(await copy()).toEqual({ path, version: '1', copied: true });
    expect(readFileSync(join(path, 'bin/castellan'), 'utf8')).toBe('program');
    expect(await copy()).toMatchObject({ copied: false });
  });

  function replace(path: string, text: string, mode: number): void {
    rmSync(path);
    writeFileSync(path, text);
    chmodSync(path, mode);
  }
});

describe('what cannot be copied', () => {
  test('a bundle that is not what its manifest says', async () => {
    writeFileSync(join(root, 'bin/castellan'), 'PROGRAM');
    await expect(copy()).rejects.toMatchObject({ code: 'install_incomplete', object: 'bin/castellan' });
    expect(copies()).toEqual([]);
    expect(existsSync(join(target, 'bin'))).toBe(false);
  });

  test('a directory that is no bundle', async () => {
    rmSync(join(root, 'manifest.json'));
    await expect(copy()).rejects.toMatchObject({ code: 'install_incomplete', errno: 'ENOENT' });
  });

  test('into a place where bin is something else', async () => {
    mkdirSync(join(target, 'bin'), { recursive: true });
    await expect(copy()).rejects.toMatchObject({ code: 'filesystem_refused', errno: 'EEXIST' });
  });

  test('into a file', async () => {
    writeFileSync(target, '');
    await expect(copy()).rejects.toMatchObject({ code: 'filesystem_refused' });
  });
});

test.each([
  ['leads out', '../x'],
  ['leads out inside', 'a/../../x'],
  ['is absolute', '/etc/passwd'],
  ['is empty', ''],
  ['has a NUL', 'a\0b'],
  ['has a line break', 'a\nb'],
])('a manifest whose path %s is none', (_name, path) => {
  const file = { path, size: 0, executable: false, sha256: '0'.repeat(64) };
  const text = JSON.stringify({ format: 1, version: '1', architecture: 'x64', files: [file] });
  expect(() => parseManifest(text)).toThrow();
});

describe('as openshell-sandbox', () => {
  const program = () => readlinkSync(join(target, 'openshell-sandbox'));
  const copyTo = async (path: string, isDirectory = false) =>
    copySelfAs(root, await programPath(path, isDirectory), UID);

  test.each<[string, { there?: string; old?: string; path: string; slash?: boolean }]>([
    ['a path that is not there', { path: 'openshell-sandbox' }],
    ['a directory that is there', { there: '.', path: '.' }],
    ['a directory that a slash says', { path: '.', slash: true }],
    ['the path of another program', { there: '.', old: 'openshell-sandbox', path: 'openshell-sandbox' }],
  ])('%s: it is a link into the copy', async (_, { there, old, path, slash }) => {
    if (there !== undefined) mkdirSync(join(target, there));
    if (old !== undefined) writeFileSync(join(target, old), 'old');
    await copyTo(join(target, path), slash);
    expect(program()).toBe(`${copies()[0]}/bin/openshell-sandbox`);
    expect(await copyTo(join(target, 'openshell-sandbox'))).toMatchObject({ copied: false });
    expect(readdirSync(target).sort()).toEqual([...copies(), 'openshell-sandbox']);
  });

  test('a later version takes the link, several at once are one, and a directory is left alone', async () => {
    await Promise.all([copyTo(target, true), copyTo(target, true), copyTo(target, true)]);
    const before = program();
    makeBundle('2');
    await copyTo(target, true);
    expect(program()).not.toBe(before);
    rmSync(join(target, 'openshell-sandbox'));
    mkdirSync(join(target, 'openshell-sandbox/openshell-sandbox'), { recursive: true });
    await expect(copyTo(target)).rejects.toMatchObject({ code: 'filesystem_refused' });
  });
});
