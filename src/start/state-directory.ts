/**
 * Gives the directory that the two containers of a pod share to the network role: others pass through it to a socket, and can
 * neither list, make, rename nor remove anything. Root without CAP_DAC_OVERRIDE and CAP_FOWNER is an ordinary owner, hence the
 * order: taken, closed, looked at, opened, given away. One descriptor throughout; the path is walked once.
 */
import { chmodSync, chownSync, constants, fstatSync, lstatSync, readdirSync, type Stats } from 'node:fs';
import { CastellanError, errnoOf } from '../errors.ts';
import { AT_FDCWD, O_PATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } from '../kernel/openat2.ts';
import { posix } from '../kernel/posix.ts';
import { escapeText } from '../lib/escape.ts';

export interface StateDirectoryOwner {
  readonly uid: number;
  readonly gid: number;
}

/** What the agent may do: pass through. */
const GIVEN_MODE = 0o711;
const HELD_MODE = 0o700;
const ROOT = 0;

/**
 * Gives the directory at `path`, absolute and with nothing in it but the owner's own, to its owner. False where it was so already.
 * @throws CastellanError `filesystem_refused`, `privilege_missing` without CAP_CHOWN
 */
export function giveStateDirectory(path: string, owner: StateDirectoryOwner): boolean {
  const descriptor = open(path);
  try {
    if (isGiven(fstatSync(descriptor), owner)) return false;
    give(path, descriptor, owner);
    if (!isGiven(fstatSync(descriptor), owner))
      throw refused(path, 'did not become the network role’s', undefined);
    return true;
  } catch (error) {
    throw error instanceof CastellanError ? error : refused(path, 'cannot be prepared', errnoOf(error));
  } finally {
    posix().close(descriptor);
  }
}

function open(path: string): number {
  try {
    const resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    return posix().openat2(AT_FDCWD, path, O_PATH | constants.O_DIRECTORY, 0, resolve);
  } catch (error) {
    const errno = errnoOf(error);
    throw refused(path, errno === 'ELOOP' ? 'is reached through a symbolic link' : 'cannot be opened', errno);
  }
}

function give(path: string, descriptor: number, owner: StateDirectoryOwner): void {
  // Leads to this inode, whatever its name is now.
  const self = `/proc/self/fd/${descriptor}`;
  const { uid } = fstatSync(descriptor);
  if (uid !== ROOT && uid !== owner.uid) throw refused(path, `belongs to uid ${uid}`, undefined);
  // Of a directory that is in use for something else, nothing is changed.
  refuseForeignEntries(path, self, owner);
  changeOwner(path, self, { uid: ROOT, gid: ROOT });
  chmodSync(self, HELD_MODE);
  refuseForeignEntries(path, self, owner);
  chmodSync(self, GIVEN_MODE);
  changeOwner(path, self, owner);
}

function isGiven({ uid, gid, mode }: Stats, owner: StateDirectoryOwner): boolean {
  return uid === owner.uid && gid === owner.gid && (mode & 0o7777) === GIVEN_MODE;
}

/** What others have put there, an earlier container of the pod perhaps, would stand in the place of the network role's socket. */
function refuseForeignEntries(path: string, self: string, owner: StateDirectoryOwner): void {
  for (const name of entriesOf(self)) {
    const { uid } = lstatSync(`${self}/${name}`);
    if (uid !== owner.uid) throw refused(path, `holds ${escapeText(name)} of uid ${uid}`, undefined);
  }
}

/** The network role's own directory may be closed to root. It is looked at again when it is root's. */
function entriesOf(self: string): readonly string[] {
  try {
    return readdirSync(self);
  } catch (error) {
    if (errnoOf(error) === 'EACCES') return [];
    throw error;
  }
}

function changeOwner(path: string, self: string, { uid, gid }: StateDirectoryOwner): void {
  try {
    chownSync(self, uid, gid);
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error;
    throw new CastellanError('privilege_missing', `${path} cannot be given to uid ${uid}`, {
      step: 'state-directory',
      object: path,
      errno: 'EPERM',
      remedy: 'give the container the capability CHOWN and uid 0',
    });
  }
}

function refused(path: string, problem: string, errno: string | undefined): CastellanError {
  return new CastellanError('filesystem_refused', `the state directory ${path} ${problem}`, {
    step: 'state-directory',
    object: path,
    ...(errno && { errno }),
    remedy: 'mount an empty volume there (an emptyDir), shared with the network role’s container alone',
  });
}
