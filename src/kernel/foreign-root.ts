/** The file system as another process sees it, for one who may look into that process. Whatever lies there may be hostile. */
import { constants } from 'node:fs';
import { createTurns } from '../lib/turns.ts';
import { AT_FDCWD, O_PATH } from './openat2.ts';
import { posix } from './posix.ts';

export interface ForeignRoot extends Disposable {
  /** What the kernel calls the end of a path's links; undefined where there is none, or only outside. Opens nothing: a device is not touched. */
  follow(path: string): Promise<string | undefined>;
}

/**
 * Holds on to the root that the process has now: a later one would be of its own choice.
 * @throws the system's error, such as EACCES without CAP_SYS_PTRACE
 */
export function openForeignRoot(pid: number): ForeignRoot {
  const root = posix().openat2(AT_FDCWD, `/proc/${pid}/root`, O_PATH | constants.O_DIRECTORY, 0, 0);
  // A volume that does not answer holds a thread of the pool for good: one, and not those that the log is written by.
  const inTurn = createTurns(1);
  let isClosed = false;
  return {
    follow: (path) =>
      inTurn(async () => {
        try {
          return isClosed ? undefined : await posix().followInRoot(root, path);
        } catch {
          return undefined;
        }
      }),
    [Symbol.dispose]() {
      isClosed = true;
      posix().close(root);
    },
  };
}
