import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { seedWorkspace } from '../../../src/start/seed.ts';

const isRoot = process.geteuid?.() === 0;
let place: string;
let source: string;
let volume: string;

beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'castellan-seed-'));
  source = join(place, 'image');
  volume = join(place, 'volume');
  mkdirSync(source);
  mkdirSync(volume);
});
afterEach(() => rmSync(place, { recursive: true, force: true }));

describe('seedWorkspace', () => {
  it('copies files, directories and links, and no set-id bits', () => {
    mkdirSync(join(source, 'd/e'), { recursive: true });
    writeFileSync(join(source, 'd/e/f'), 'text');
    chmodSync(join(source, 'd/e/f'), 0o4755);
    chmodSync(join(source, 'd/e'), 0o555);
    symlinkSync('/etc/passwd', join(source, 'link'));
    symlinkSync('nowhere', join(source, 'd/dangling'));
    execFileSync('mkfifo', [join(source, 'pipe')]);
    expect(seedWorkspace(source, volume)).toEqual({ outcome: 'copied', entries: 5, leftOut: 1 });
    expect(readFileSync(join(volume, 'd/e/f'), 'utf8')).toBe('text');
    expect(lstatSync(join(volume, 'd/e/f')).mode & 0o7777).toBe(0o755);
    expect(lstatSync(join(volume, 'd/e')).mode & 0o777).toBe(0o555);
    expect(readlinkSync(join(volume, 'link'))).toBe('/etc/passwd');
    expect(readdirSync(volume).sort()).toEqual(['d', 'link']);
    chmodSync(join(source, 'd/e'), 0o755);
    chmodSync(join(volume, 'd/e'), 0o755);
  });

  it('does nothing to a volume that somebody has used', () => {
    writeFileSync(join(source, 'a'), 'image');
    writeFileSync(join(volume, 'b'), 'mine');
    expect(seedWorkspace(source, volume)).toMatchObject({ outcome: 'used' });
    expect(readdirSync(volume)).toEqual(['b']);
  });

  it('does nothing where the image has nothing, or a link', () => {
    expect(seedWorkspace(join(place, 'none'), volume)).toMatchObject({ outcome: 'nothing' });
    symlinkSync('/etc', join(place, 'link'));
    expect(seedWorkspace(join(place, 'link'), volume)).toMatchObject({ outcome: 'nothing' });
    expect(readdirSync(volume)).toEqual([]);
  });

  it('takes an empty file system for empty', () => {
    mkdirSync(join(volume, 'lost+found'));
    writeFileSync(join(source, 'a'), '');
    expect(seedWorkspace(source, volume)).toMatchObject({ outcome: 'copied', entries: 1 });
  });

  it('begins anew after an attempt that was ended, and removes no more than what lies there', () => {
    const outside = join(place, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'kept'), '');
    writeFileSync(join(source, 'a'), 'whole');
    writeFileSync(join(volume, '.castellan-seeding'), '');
    writeFileSync(join(volume, 'a'), 'ha');
    symlinkSync(outside, join(volume, 'd'));
    expect(seedWorkspace(source, volume)).toMatchObject({ outcome: 'copied' });
    expect(readdirSync(volume)).toEqual(['a']);
    expect(readFileSync(join(volume, 'a'), 'utf8')).toBe('whole');
    expect(existsSync(join(outside, 'kept'))).toBe(true);
  });

  it('refuses directories that hold each other', () => {
    const inner = join(source, 'volume');
    mkdirSync(inner);
    expect(() => seedWorkspace(source, inner)).toThrow('hold each other');
    expect(() => seedWorkspace(inner, source)).not.toThrow(); // it is in use
    expect(() => seedWorkspace(source, join(place, 'none'))).toThrow('is no directory');
  });

  it.skipIf(!isRoot)('as root: another user leaves out what it may not read', () => {
    writeFileSync(join(source, 'secret'), 'x', { mode: 0o600 });
    mkdirSync(join(source, 'closed'), { mode: 0o700 });
    writeFileSync(join(source, 'open'), 'x', { mode: 0o644 });
    chmodSync(place, 0o755);
    chownSync(volume, 20_001, 20_001);
    const out = execFileSync(
      process.execPath,
      [
        '-e',
        `process.setgid(20001); process.setuid(20001); import(process.argv[1]).then(({ seedWorkspace }) =>
          console.log(JSON.stringify(seedWorkspace(process.argv[2], process.argv[3]))))`,
        join(import.meta.dirname, '../../../src/start/seed.ts'),
        source,
        volume,
      ],
      { encoding: 'utf8' },
    );
    expect(JSON.parse(out)).toEqual({ outcome: 'copied', entries: 2, leftOut: 1 });
    expect(lstatSync(join(volume, 'open')).uid).toBe(20_001);
  });
});
