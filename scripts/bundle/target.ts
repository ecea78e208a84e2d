/** Whom a bundle is for: this machine, or one of another architecture, for which everything is brought and compiled here. */
import { join } from 'node:path';
import { type Addons, INSTALLED_ADDONS } from '../addons.ts';
import { type DebianSystem, INSTALLED } from './debian.ts';

export const ARCHITECTURES = {
  x64: { triplet: 'x86_64-linux-gnu', debian: 'amd64', emulator: 'qemu-x86_64' },
  arm64: { triplet: 'aarch64-linux-gnu', debian: 'arm64', emulator: 'qemu-aarch64' },
} as const;

export type Architecture = keyof typeof ARCHITECTURES;

export interface Target {
  readonly architecture: Architecture;
  /** Of Node's npm package, below the repository. */
  readonly nodePackage: string;
  /** What native/Makefile has made. */
  readonly native: string;
  /** Absolute paths, by the name they have in a bundle. */
  readonly addons: Addons & { readonly 'posix.node': string };
  readonly debian: DebianSystem;
  readonly strip: string;
  /** Starts the target's programs here, where the kernel would not. */
  readonly emulator?: string;
}

export const THIS_ARCHITECTURE: Architecture = process.arch === 'arm64' ? 'arm64' : 'x64';

/** What `npm run bundle` has made ready. */
export function thisMachine(repository: string): Target {
  return {
    architecture: THIS_ARCHITECTURE,
    nodePackage: `node_modules/node-linux-${THIS_ARCHITECTURE}`,
    native: join(repository, 'build'),
    addons: { ...INSTALLED_ADDONS, 'posix.node': join(repository, 'build/posix.node') },
    debian: INSTALLED,
    strip: 'strip',
  };
}

/** @throws Error for what is no architecture that bundles are made for */
export function architectureNamed(text: string): Architecture {
  const found = Object.entries(ARCHITECTURES).find(
    ([name, { debian }]) => text === name || text === debian,
  )?.[0];
  if (found === undefined)
    throw new Error(`${text} is none of the architectures ${Object.keys(ARCHITECTURES).join(', ')}`);
  return found as Architecture;
}

/** The words that start Node of a finished bundle on this machine. */
export function nodeCommand(bundle: string, { emulator }: Target): readonly string[] {
  if (emulator === undefined) return [join(bundle, 'libexec/node')];
  // The kernel starts no program of another architecture, so nothing of the bundle can start the next: its loader is named here.
  const lib = join(bundle, 'lib');
  return [emulator, join(lib, 'ld.so'), '--inhibit-cache', '--library-path', lib, join(lib, 'programs/node')];
}
