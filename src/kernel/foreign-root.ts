/** The file system as another process sees it, for one who may look into that process. Whatever lies there may be hostile. */
import { constants, readlinkSync } from 'node:fs';
import { AT_FDCWD, O_PATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS } from './openat2.ts';
import { posix } from './posix.ts';

export interface ForeignRoot extends Disposable {
  /** What the kernel calls the end of a path's links; undefined where there is none, or only outside. Opens nothing: a device is not touched. */
  follow(path: string): string | undefined;
}

/**
 * Holds on to the root that the process has now: a later one would be of its own choice.
 * @throws the system's error, such as EACCES without CAP_SYS_PTRACE
 */
export function openForeignRoot(pid: number): ForeignRoot {
  const root = posix().openat2(AT_FDCWD, `/proc/${pid}/root`, O_PATH | constants.O_DIRECTORY, 0, 0);
  return {
    follow(path) {
      try {
        // Links to `/` and `..` end at that root, and those of /proc, which lead anywhere, are not followed.
        const found = posix().openat2(root, path, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
        try {
          return readlinkSync(`/proc/self/fd/${found}`);
        } finally {
          posix().close(found);
        }
      } catch {
        return undefined;
      }
    },
    [Symbol.dispose]: () => posix().close(root),
  };
}
