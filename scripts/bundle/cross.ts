/**
 * Another architecture on this machine: its Node from npm, its Debian packages unpacked, castellan's C and the addons cross-compiled
 * against them. Everything lies below build/ARCHITECTURE and is made anew each time, but for Node,
 * whose version and digest package-lock.json has.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { crossBuildAddons } from '../addons.ts';
import { unpackPackages } from './debian.ts';
import { ARCHITECTURES, type Architecture, type Target } from './target.ts';

/** What a bundle holds, and what its static programs are linked from. */
const PACKAGES = ['iproute2', 'nftables', 'libstdc++6', 'libc6-dev', 'libseccomp-dev'];

/** Fetches, unpacks and compiles what a bundle for `architecture` is made of. */
export function crossTarget(repository: string, architecture: Architecture): Target {
  const place = join(repository, 'build', architecture);
  mkdirSync(place, { recursive: true });
  const { triplet, debian: debianName, emulator } = ARCHITECTURES[architecture];
  const nodePackage = fetchNode(repository, architecture);
  const debian = unpackPackages(join(place, 'debian'), debianName, PACKAGES);
  const native = join(place, 'native');
  makeNative(repository, { native, nodePackage, triplet, root: debian.root });
  const addons = crossBuildAddons({
    architecture,
    triplet,
    nodeDirectory: join(repository, nodePackage),
    directory: join(place, 'addons'),
  });
  return {
    architecture,
    nodePackage,
    native,
    addons: { ...addons, 'posix.node': join(native, 'posix.node') },
    debian,
    strip: `${triplet}-strip`,
    emulator,
  };
}

/** npm installs only what runs here. Gives the package's directory, below `repository`. */
function fetchNode(repository: string, architecture: Architecture): string {
  const name = `node-linux-${architecture}`;
  const { version, integrity } = lockedPackage(repository, name);
  const directory = join('build', architecture, `${name}-${version}`);
  const place = join(repository, directory);
  if (existsSync(place)) return directory;
  const download = `${place}.new`;
  rmSync(download, { recursive: true, force: true });
  mkdirSync(download);
  execFileSync('npm', ['pack', '--silent', `${name}@${version}`], { cwd: download });
  const archive = join(download, `${name}-${version}.tgz`);
  const digest = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
  if (digest !== integrity) throw new Error(`${name} ${version} is not what package-lock.json says`);
  execFileSync('tar', ['-xzf', archive, '-C', download, '--no-same-owner']);
  renameSync(join(download, 'package'), place);
  rmSync(download, { recursive: true });
  return directory;
}

function lockedPackage(repository: string, name: string): { version: string; integrity: string } {
  const { packages } = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8'));
  return packages[`node_modules/${name}`];
}

interface NativeParts {
  readonly native: string;
  readonly nodePackage: string;
  readonly triplet: string;
  /** Of the target's Debian packages. */
  readonly root: string;
}

/** With Debian's own C library for the target, as it is patched today; that of the cross compiler is older. */
function makeNative(repository: string, { native, nodePackage, triplet, root }: NativeParts): void {
  rmSync(native, { recursive: true, force: true });
  const sources = join(repository, 'native');
  // make(1) and the shell would take a path with a blank apart; this one is ours.
  const system = relative(sources, root);
  const compiler = [
    `${triplet}-gcc --sysroot=${system} -B${system}/usr/lib/${triplet}`,
    `-isystem ${system}/usr/include/${triplet} -isystem ${system}/usr/include`,
  ].join(' ');
  const variables = [`OUT=${relative(sources, native)}`, `CC=${compiler}`, `NODE_PACKAGE=${nodePackage}`];
  execFileSync('make', ['-s', '-C', sources, 'bundle', ...variables], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}
