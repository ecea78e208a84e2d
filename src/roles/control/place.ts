/**
 * Where the control socket is: a directory that both containers mount. Everything in it is reached through one descriptor of
 * the directory, so that nobody who can move a name aside chooses another.
 */
import { constants, fstatSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CastellanError, errnoOf } from '../../errors.ts';
import { directoryFlaw } from '../../kernel/directory-flaw.ts';
import { AT_FDCWD, O_PATH, RESOLVE_NO_SYMLINKS } from '../../kernel/openat2.ts';
import { posix } from '../../kernel/posix.ts';

export interface ControlPlace extends Disposable {
  readonly ownerUid: number;
  readonly socket: string;
  /** Holds what only a process that nothing confines can read. */
  readonly tokenFile: string;
}

const WRITABLE_BY_OTHERS = 0o022;

/**
 * Opens the directory of the control socket, and sees to it that only its owner and root choose what is in it.
 * @param path of the socket, absolute
 * @param mayOwn whether a uid may own it, for this end
 * @throws CastellanError `filesystem_refused`
 */
export async function openControlPlace(
  path: string,
  mayOwn: (uid: number) => boolean,
): Promise<ControlPlace> {
  const named = dirname(path);
  const directory = await realpath(named).catch((error: unknown) => {
    throw refused(named, 'cannot be opened', errnoOf(error));
  });
  const flags = O_PATH | constants.O_DIRECTORY;
  const descriptor = openDirectory(directory, flags);
  try {
    const facts = fstatSync(descriptor);
    if (!mayOwn(facts.uid)) throw refused(directory, `belongs to uid ${facts.uid}`);
    if ((facts.mode & WRITABLE_BY_OTHERS) !== 0)
      throw refused(directory, `can be written by others (mode ${(facts.mode & 0o7777).toString(8)})`);
    const above = directoryFlaw(dirname(directory), mayOwn);
    if (above !== undefined) throw refused(above.path, `lies above the control socket and ${above.problem}`);
    const inside = `/proc/self/fd/${descriptor}`;
    return {
      ownerUid: facts.uid,
      socket: join(inside, basename(path)),
      tokenFile: join(inside, `${basename(path)}.token`),
      [Symbol.dispose]: () => posix().close(descriptor),
    };
  } catch (error) {
    posix().close(descriptor);
    throw error;
  }
}

function openDirectory(directory: string, flags: number): number {
  try {
    return posix().openat2(AT_FDCWD, directory, flags, 0, RESOLVE_NO_SYMLINKS);
  } catch (error) {
    throw refused(directory, 'cannot be opened', errnoOf(error));
  }
}

function refused(object: string, problem: string, errno?: string): CastellanError {
  return new CastellanError('filesystem_refused', `${object} ${problem}`, {
    step: 'control-socket',
    object,
    remedy: 'castellan network-init --state-directory makes a directory as the control socket needs it',
    ...(errno && { errno }),
  });
}
