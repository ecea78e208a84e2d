/** Debian packages that are unpacked below build/debian and not installed: their programs are needed, and neither their services nor their kernel. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './world.ts';

const PLACE = join(REPOSITORY, 'build/debian');

/** The directory that stands for `/`; downloaded the first time only. */
export function unpackPackage(name: string): string {
  const unpacked = join(PLACE, name);
  if (existsSync(unpacked)) return unpacked;
  const download = `${unpacked}.${process.pid}`;
  mkdirSync(download, { recursive: true });
  try {
    execFileSync('apt-get', ['download', '-q', name], { cwd: download, stdio: 'pipe' });
    const [archive = ''] = readdirSync(download);
    execFileSync('dpkg', ['-x', archive, 'root'], { cwd: download, stdio: 'pipe' });
    renameSync(join(download, 'root'), unpacked);
  } finally {
    rmSync(download, { recursive: true, force: true });
  }
  return unpacked;
}
