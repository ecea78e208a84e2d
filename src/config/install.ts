import { join } from 'node:path';
import { isBundle } from '../lib/layout.ts';
import type { Surroundings } from './surroundings.ts';

/** Castellan's own programs, found from its own place and never from PATH. */
export interface InstallPaths {
  readonly root: string;
  readonly node: string;
  readonly main: string;
  readonly castellan: string;
  readonly launcher: string;
  readonly netnsHelper: string;
  /** The system calls that the launcher refuses, as text. */
  readonly seccompTable: string;
  /** Where `ip` and `nft` are looked for. */
  readonly toolDirectories: readonly string[];
  /** Whether everything that castellan loads is below `root`, so that nothing of an image has to be loaded. */
  readonly selfContained: boolean;
}

const SYSTEM_TOOLS = ['/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/** The layout of a development tree, or that of a bundle as scripts/bundle.ts makes it. */
export function installPaths(surroundings: Surroundings): InstallPaths {
  return isBundle ? bundlePaths(surroundings.installRoot) : treePaths(surroundings);
}

function treePaths({ installRoot, node }: Surroundings): InstallPaths {
  return {
    root: installRoot,
    node,
    main: join(installRoot, 'src/main.ts'),
    castellan: join(installRoot, 'build/bin/castellan'),
    launcher: join(installRoot, 'build/castellan-launch'),
    netnsHelper: join(installRoot, 'build/castellan-netns'),
    seccompTable: join(installRoot, 'build/seccomp.table'),
    toolDirectories: SYSTEM_TOOLS,
    selfContained: false,
  };
}

/** Node's own path is that of the loader it was started by, which is no use for starting it again. */
function bundlePaths(root: string): InstallPaths {
  return {
    root,
    node: join(root, 'libexec/node'),
    main: join(root, 'app/castellan.cjs'),
    castellan: join(root, 'bin/castellan'),
    launcher: join(root, 'libexec/castellan-launch'),
    netnsHelper: join(root, 'libexec/castellan-netns'),
    seccompTable: join(root, 'share/seccomp.table'),
    toolDirectories: [join(root, 'libexec')],
    selfContained: true,
  };
}
