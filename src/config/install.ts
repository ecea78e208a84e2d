import { join } from 'node:path';
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
}

/** The layout of a development tree; a bundle has its own. */
export function installPaths({ installRoot, node }: Surroundings): InstallPaths {
  return {
    root: installRoot,
    node,
    main: join(installRoot, 'src/main.ts'),
    castellan: join(installRoot, 'build/bin/castellan'),
    launcher: join(installRoot, 'build/castellan-launch'),
    netnsHelper: join(installRoot, 'build/castellan-netns'),
    seccompTable: join(installRoot, 'build/seccomp.table'),
  };
}
