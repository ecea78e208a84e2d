/**
 * Files with secrets in them. This role opens them, because the network role's uid may not, and hands over the descriptors: it
 * never reads them, and the agent must not be able to.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync, type Stats } from 'node:fs';
import type { RunConfig } from '../config/config.ts';
import type { SecretFileName } from '../config/secret-files.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import type { SandboxIdentity } from '../launch/cell.ts';
import type { SecretDescriptors } from '../roles/message.ts';
import type { GrantedPath } from './filesystem.ts';
import { covers } from './path-plan.ts';

/** Disposed of as soon as the network role has its own; once more does nothing. */
export interface SecretFiles extends Disposable {
  readonly descriptors: SecretDescriptors;
}

export interface SecretFileReaders {
  readonly mode: RunConfig['mode'];
  /** Undefined where the sandbox is in another container, which has not these files. */
  readonly identity?: Pick<SandboxIdentity, 'uid' | 'gid' | 'groups'>;
  readonly granted: readonly Pick<GrantedPath, 'path' | 'access'>[];
}

/** Far above any list of credentials; what is larger is another file. */
const MAX_SECRET_BYTES = 1024 * 1024;

/**
 * Opens every file that the configuration names.
 * @throws CastellanError `filesystem_refused` for what is missing, no regular file, or within reach of the agent
 */
export function openSecretFiles(paths: RunConfig['secretFiles'], readers: SecretFileReaders): SecretFiles {
  using opened = new DisposableStack();
  const descriptors: Partial<Record<SecretFileName, number>> = {};
  for (const [name, path] of Object.entries(paths) as [SecretFileName, string][]) {
    const descriptor = openSecret(path);
    opened.defer(() => closeSync(descriptor));
    refuseReach(path, descriptor, readers);
    descriptors[name] = descriptor;
  }
  const kept = opened.move();
  return { descriptors, [Symbol.dispose]: () => kept.dispose() };
}

/**
 * The text of one such file, in the role that was given it. Closes the descriptor.
 * @throws the system's error; RangeError for a file that has grown too large since
 */
export function readSecretFile(descriptor: number): string {
  const buffer = Buffer.alloc(MAX_SECRET_BYTES + 1);
  let length = 0;
  try {
    for (let read = -1; read !== 0 && length < buffer.length; length += read)
      read = readSync(descriptor, buffer, length, buffer.length - length, length);
    if (length > MAX_SECRET_BYTES) throw new RangeError('a file of secrets is too large');
    return buffer.toString('utf8', 0, length);
  } finally {
    buffer.fill(0);
    closeSync(descriptor);
  }
}

/** Links are followed: volumes of secrets are made of them. What the name leads to is judged, by its descriptor. */
function openSecret(path: string): number {
  try {
    // Not blocking, for a FIFO would wait for its writer.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw refused(path, 'cannot be opened', errnoOf(error));
  }
}

function refuseReach(path: string, descriptor: number, { mode, identity, granted }: SecretFileReaders): void {
  const facts = fstatSync(descriptor);
  if (!facts.isFile()) throw refused(path, 'is not a regular file');
  if (facts.size > MAX_SECRET_BYTES) throw refused(path, `is larger than ${MAX_SECRET_BYTES} bytes`);
  const target = readlinkSync(`/proc/self/fd/${descriptor}`);
  const hole = granted.find(
    (grant) =>
      (covers(grant.path, path) || covers(grant.path, target)) &&
      // A place it may write lets it exchange the file; another uid is kept out by permissions elsewhere.
      (grant.access === 'write' || mode !== 'root'),
  );
  if (hole !== undefined)
    throw refused(path, `lies below ${hole.path}, which the policy grants to the agent`);
  if (mode === 'root' && identity !== undefined && mayRead(facts, identity))
    throw refused(path, `can be read by the sandbox user (mode ${(facts.mode & 0o777).toString(8)})`);
  if ((facts.mode & 0o002) !== 0) throw refused(path, 'can be written by everybody');
}

function mayRead(
  { uid, gid, mode }: Stats,
  identity: Pick<SandboxIdentity, 'uid' | 'gid' | 'groups'>,
): boolean {
  if (uid === identity.uid) return true;
  const inGroup = gid === identity.gid || identity.groups.includes(gid);
  return (mode & (inGroup ? 0o040 : 0o004)) !== 0;
}

function refused(path: string, problem: string, errno?: string): CastellanError {
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'secrets',
    object: path,
    remedy: 'keep files with secrets where only castellan’s own user reads them',
    ...(errno && { errno }),
  });
}
