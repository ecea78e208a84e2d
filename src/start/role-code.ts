/** Lets the network role's own uid reach castellan's program, wherever it is installed. */
import { statSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import type { MountStep } from '../launch/spec.ts';
import { openReadable } from './filesystem.ts';
import { covers } from './path-plan.ts';
import { codeDirectoryOf } from './run-directory.ts';

export interface ReachableCode extends AsyncDisposable {
  readonly node: string;
  readonly main: string;
  /** Where the program is on the host: what a Landlock rule is made for. */
  readonly source: string;
  readonly mounts: readonly MountStep[];
}

/**
 * The program as the role can open it. Below a directory that others may not enter (a clone in a home directory, say) it is
 * attached, in the role's private mount namespace, to a directory that they may.
 */
export async function reachableCode(
  config: RunConfig,
  install: InstallPaths,
  changesUid: boolean,
): Promise<ReachableCode> {
  const { root, node, main } = install;
  const inPlace: ReachableCode = { node, main, source: root, mounts: [], async [Symbol.asyncDispose]() {} };
  if (!changesUid || isOpenToOthers(root)) return inPlace;
  const target = codeDirectoryOf(config.runBase, config.name);
  await mkdir(target, { mode: 0o755 });
  const opened = openReadable([root]);
  const move = (path: string) => (covers(root, path) ? join(target, relative(root, path)) : path);
  return {
    node: move(node),
    main: move(main),
    source: root,
    mounts: opened.granted.map(({ descriptor }) => ({ kind: 'bind', descriptor, path: target })),
    async [Symbol.asyncDispose]() {
      opened[Symbol.dispose]();
      await rmdir(target);
    },
  };
}

/** Whether every directory on the way may be passed through by anybody. */
function isOpenToOthers(path: string): boolean {
  const enterable = (statSync(path).mode & 0o001) !== 0;
  return enterable && (path === '/' || isOpenToOthers(dirname(path)));
}
