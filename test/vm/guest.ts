/** This machine's programs and castellan's tree in a guest of Debian's cloud kernel, for what this machine's kernel cannot show. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { unpackPackage } from '../fakes/debian-package.ts';
import { bootWith, copyModules, kernelBelow, makeRoot, PLACE } from './machine.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const INSTALLED = '/opt/castellan';

const PROGRAMS = [
  ...[
    'bash',
    'cat',
    'chmod',
    'chown',
    'env',
    'grep',
    'head',
    'id',
    'kmod',
    'ls',
    'mkdir',
    'mount',
    'rm',
    'seq',
  ],
  ...['setpriv', 'sleep', 'stat', 'tail', 'true', 'uname', 'ip', 'nft', 'setsid', 'touch', 'wc'],
];

export interface GuestOptions {
  /** Programs besides, by their names. */
  readonly programs?: readonly string[];
  /** Adds what the guest needs besides, below the directory that will be its root. */
  readonly furnish?: (root: string) => void;
}

/** Boots, runs `script` by the shell as root, and gives what the machine wrote on its console. */
export async function runGuest(
  script: string,
  deadlineMs: number,
  { programs = [], furnish }: GuestOptions = {},
): Promise<string> {
  mkdirSync(PLACE, { recursive: true });
  const kernel = kernelBelow(fetchKernel());
  const root = layOutSystem([...PROGRAMS, ...programs]);
  copyModules(root, 'usr/lib', kernel);
  copyCastellan(root);
  const emulator = { program: 'qemu-system-x86_64', options: [], console: 'ttyS0' };
  return await bootWith(root, script, { kernel, emulator, deadlineMs, furnish });
}

/** This machine keeps its own. */
function fetchKernel(): string {
  const depends = execFileSync('apt-cache', ['depends', 'linux-image-cloud-amd64'], { encoding: 'utf8' });
  return unpackPackage(/Depends: (linux-image-\S+)/.exec(depends)?.[1] ?? '');
}

function layOutSystem(programs: readonly string[]): string {
  const root = makeRoot('root', ['usr/bin', 'usr/sbin', 'usr/lib', 'usr/lib64']);
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(root, name));
  for (const name of programs) copyProgram(root, which(name));
  symlinkSync('bash', join(root, 'usr/bin/sh'));
  for (const name of ['modprobe', 'depmod']) symlinkSync('../bin/kmod', join(root, 'usr/sbin', name));
  return root;
}

function which(name: string): string {
  for (const directory of ['/usr/bin', '/usr/sbin', '/bin', '/sbin'])
    if (existsSync(join(directory, name))) return join(directory, name);
  throw new Error(`${name} is not installed`);
}

/** With the libraries it is linked to. */
export function copyProgram(root: string, path: string, as = path): void {
  copyInto(root, realpathSync(path), as);
  for (const library of librariesOf(path)) copyInto(root, realpathSync(library), library);
}

function librariesOf(path: string): string[] {
  try {
    const text = execFileSync('ldd', [path], { encoding: 'utf8', stdio: 'pipe' });
    return [...text.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? '');
  } catch {
    return []; // static
  }
}

function copyInto(root: string, from: string, to: string): void {
  const target = join(root, to);
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(from, target);
}

/** What a run needs of the tree: the sources, the native parts, Node and the packages that are no tools of development. */
function copyCastellan(root: string): void {
  const target = join(root, INSTALLED);
  cpSync(join(REPOSITORY, 'src'), join(target, 'src'), { recursive: true });
  copyFileSync(join(REPOSITORY, 'package.json'), join(target, 'package.json'));
  const build = join(REPOSITORY, 'build');
  mkdirSync(join(target, 'build/bin'), { recursive: true });
  copyFileSync(join(build, 'bin/castellan'), join(target, 'build/bin/castellan'));
  for (const name of readdirSync(build).filter((file) => /^castellan-|\.node$|^seccomp\.table$/.test(file)))
    copyProgram(root, join(build, name), join(INSTALLED, 'build', name));
  const lock: { readonly packages: Readonly<Record<string, { readonly dev?: boolean }>> } = JSON.parse(
    readFileSync(join(REPOSITORY, 'package-lock.json'), 'utf8'),
  );
  for (const [path, { dev = false }] of Object.entries(lock.packages))
    if (path !== '' && !dev && existsSync(join(REPOSITORY, path)))
      cpSync(join(REPOSITORY, path), join(target, path), { recursive: true, filter: isNeeded });
  for (const library of librariesOf(process.execPath)) copyInto(root, realpathSync(library), library);
}

/** Node brings its headers, and native packages their object files. */
function isNeeded(path: string): boolean {
  return (
    !/\/(?:node-linux-\w+\/(?:include|share|lib)|obj\.target|deps)(?:\/|$)/.test(path) &&
    basename(path) !== 'CHANGELOG.md'
  );
}
