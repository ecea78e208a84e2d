/**
 * Prepares what the agent may touch: creates missing read_write paths, and opens every path once. The descriptors
 * opened here are the ones Landlock rules are made of at each launch, so no path is walked twice.
 */
import { constants, fchownSync, fstatSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Report } from '../audit/event.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { posix } from '../kernel/posix.ts';
import type { SandboxIdentity } from '../launch/cell.ts';
import type { FilesystemPolicy } from '../policy/document.ts';
import { BASELINE_DEVICES, covers, type OwnPlace, planPaths } from './path-plan.ts';

export interface GrantedPath {
  readonly path: string;
  readonly descriptor: number;
  readonly isDirectory: boolean;
  readonly access: 'read' | 'write';
}

export interface PreparedFilesystem extends Disposable {
  readonly granted: readonly GrantedPath[];
}

/** openat2(2) flags that node:fs does not name. */
const O_PATH = 0o10000000;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const AT_FDCWD = -100;

/**
 * Opens and where needed creates the policy's paths.
 * @throws CastellanError `filesystem_refused`, naming the path.
 */
export async function prepareFilesystem(
  policy: FilesystemPolicy,
  workingDirectory: string,
  own: readonly OwnPlace[],
  identity: SandboxIdentity,
  report: Report,
): Promise<PreparedFilesystem> {
  const plan = planPaths(policy, workingDirectory, own);
  for (const skipped of plan.skipped) report({ kind: 'path-skipped', ...skipped });
  const granted: GrantedPath[] = [];
  const prepared: PreparedFilesystem = {
    granted,
    [Symbol.dispose]: () => closeAll(granted),
  };
  try {
    for (const path of plan.readWrite) granted.push(grantWrite(path, identity, report));
    for (const path of plan.readOnly) {
      const grant = await grantRead(path, plan.readWrite);
      if (typeof grant === 'string') report({ kind: 'path-skipped', path, reason: grant });
      else granted.push(grant);
    }
    granted.push(
      ...openReadable(BASELINE_DEVICES).granted.map((device) => ({ ...device, access: 'write' as const })),
    );
    return prepared;
  } catch (error) {
    prepared[Symbol.dispose]();
    throw error;
  }
}

function grant(path: string, descriptor: number, access: GrantedPath['access']): GrantedPath {
  return { path, descriptor, isDirectory: fstatSync(descriptor).isDirectory(), access };
}

function grantWrite(path: string, identity: SandboxIdentity, report: Report): GrantedPath {
  let action: 'created' | 'kept' = 'kept';
  let descriptor = openExisting(path);
  if (descriptor === undefined) {
    createDirectory(path, identity);
    action = 'created';
    descriptor = openExisting(path);
  }
  if (descriptor === undefined) throw refused(path, 'vanished while it was prepared', 'ENOENT');
  report({ kind: 'path-prepared', path, action });
  return grant(path, descriptor, 'write');
}

/** Opens paths of the system's own for reading, following links; what is missing is left out. */
export function openReadable(paths: readonly string[]): PreparedFilesystem {
  const granted: GrantedPath[] = [];
  for (const path of paths) {
    const descriptor = openIfPermitted(path);
    if (descriptor !== undefined) granted.push(grant(path, descriptor, 'read'));
  }
  return { granted, [Symbol.dispose]: () => closeAll(granted) };
}

function openIfPermitted(path: string): number | undefined {
  try {
    return tryOpen(path, RESOLVE_NO_MAGICLINKS);
  } catch (error) {
    if (errnoOf(error) === 'EACCES') return undefined;
    throw error;
  }
}

function closeAll(granted: readonly GrantedPath[]): void {
  for (const { descriptor } of granted) posix().close(descriptor);
}

/**
 * A symbolic link on the way is followed only where nobody confined could have put it: never below a
 * read_write path, where a previous tenant could aim it at what the policy does not grant.
 */
async function grantRead(path: string, writable: readonly string[]): Promise<GrantedPath | string> {
  try {
    const direct = openPath(path);
    return direct === undefined ? 'does not exist' : grant(path, direct, 'read');
  } catch (error) {
    const errno = errnoOf(error);
    // Not granting what castellan itself may not reach takes nothing away from anybody.
    if (errno === 'EACCES') return 'may not be reached by this user';
    if (errno !== 'ELOOP') throw refused(path, 'cannot be opened', errno);
  }
  if (writable.some((root) => covers(root, path)))
    throw refused(path, 'is reached through a symbolic link', 'ELOOP');
  const target = await realpath(path).catch(() => undefined);
  const descriptor = target === undefined ? undefined : openExisting(target);
  return descriptor === undefined ? 'is a link to nothing' : grant(path, descriptor, 'read');
}

/** Makes the directory and its missing parents; only the last one gets an owner, the parents stay castellan's. */
function createDirectory(path: string, owner: SandboxIdentity | undefined): void {
  const parentPath = dirname(path);
  let parent = openExisting(parentPath);
  if (parent === undefined) {
    createDirectory(parentPath, undefined);
    parent = openExisting(parentPath);
  }
  if (parent === undefined) throw refused(parentPath, 'vanished while it was prepared', 'ENOENT');
  try {
    posix().mkdirat(parent, basename(path), 0o755);
    if (owner === undefined) return;
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    const created = posix().openat2(parent, basename(path), flags, 0, RESOLVE_NO_SYMLINKS);
    try {
      fchownSync(created, owner.uid, owner.gid);
    } finally {
      posix().close(created);
    }
  } catch (error) {
    throw refused(path, 'cannot be created', errnoOf(error));
  } finally {
    posix().close(parent);
  }
}

/** @throws CastellanError `filesystem_refused` for anything but success and absence. */
function openExisting(path: string): number | undefined {
  try {
    return openPath(path);
  } catch (error) {
    const errno = errnoOf(error);
    throw refused(path, errno === 'ELOOP' ? 'is reached through a symbolic link' : 'cannot be opened', errno);
  }
}

function openPath(path: string): number | undefined {
  return tryOpen(path, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

function tryOpen(path: string, resolve: number): number | undefined {
  try {
    return posix().openat2(AT_FDCWD, path, O_PATH, 0, resolve);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function refused(path: string, problem: string, errno: string | undefined): CastellanError {
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'filesystem',
    object: path,
    ...(errno && { errno }),
  });
}
