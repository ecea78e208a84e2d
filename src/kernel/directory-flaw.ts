/** Who can change what lies in a directory. */
import { lstatSync } from 'node:fs';
import { dirname } from 'node:path';

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

export interface DirectoryFlaw {
  /** The directory, or one above it. */
  readonly path: string;
  readonly problem: string;
}

/**
 * By whom another file, or another directory, could be put in the place of one in `directory`; undefined where by nobody but its owners.
 * What is sticky may be written by all: a name in it stays its owner's.
 * @param directory absolute, with no link on the way
 */
export function directoryFlaw(
  directory: string,
  mayOwn: (uid: number) => boolean,
): DirectoryFlaw | undefined {
  for (let path = directory; ; path = dirname(path)) {
    const { uid, mode } = lstatSync(path);
    if (!mayOwn(uid)) return { path, problem: `belongs to uid ${uid}` };
    if ((mode & WRITABLE_BY_OTHERS) !== 0 && (mode & STICKY) === 0)
      return { path, problem: `can be written by others than uid ${uid}` };
    if (path === dirname(path)) return undefined;
  }
}
