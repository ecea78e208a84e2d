/**
 * Prepares what the agent may touch: creates missing read_write paths, and opens every path once. The descriptors
 * opened here are the ones Landlock rules are made of at each launch, so no path is walked twice.
 */
import { constants, fchownSync, fstatSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Report } from '../audit/event.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { AT_FDCWD, O_PATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } from '../kernel/openat2.ts';
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

export interface FilesystemRules {
  /** False looks only: a missing read_write path is left out. */
  readonly create: boolean;
  /** landlock.compatibility hard_requirement: a listed path that cannot be granted ends the start. */
  readonly everyPathRequired: boolean;
}

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
  rules: FilesystemRules,
): Promise<PreparedFilesystem> {
  const plan = planPaths(policy, workingDirectory, own);
  const skip = (path: string, reason: string) => {
    if (rules.everyPathRequired && policy.readOnly.includes(path))
      throw refused(path, `${reason}, and landlock.compatibility is hard_requirement`, undefined);
    report({ kind: 'path-skipped', path, reason });
  };
  for (const skipped of plan.skipped) report({ kind: 'path-skipped', ...skipped });
  const granted: GrantedPath[] = [];
  const prepared: PreparedFilesystem = {
    granted,
    [Symbol.dispose]: () => closeAll(granted),
  };
  try {
    for (const path of plan.readWrite) {
      const grant = grantWrite(path, identity, report, rules.create);
      if (grant !== undefined) granted.push(grant);
    }
    for (const path of plan.readOnly) {
      const grant = await grantRead(path, plan.readWrite);
      if (typeof grant === 'string') skip(path, grant);
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

/** Writing to these is writing to all files, or to the kernel, whatever else is refused: mem, kmem, port and kmsg. */
const MEMORY_DEVICE_MAJOR = 1;
const MEMORY_DEVICE_MINORS = [1, 2, 4, 11];

function refuseDevice(path: string, descriptor: number): void {
  const facts = fstatSync(descriptor);
  const [major, minor] = [Number((BigInt(facts.rdev) >> 8n) & 0xfffn), Number(BigInt(facts.rdev) & 0xffn)];
  if (facts.isBlockDevice()) throw refused(path, 'is a block device', undefined);
  if (facts.isCharacterDevice() && major === MEMORY_DEVICE_MAJOR && MEMORY_DEVICE_MINORS.includes(minor))
    throw refused(path, 'is a device of the kernel’s own memory', undefined);
}

/** Undefined where the path is missing and nothing may be created. */
function grantWrite(
  path: string,
  identity: SandboxIdentity,
  report: Report,
  create: boolean,
): GrantedPath | undefined {
  let action: 'created' | 'kept' = 'kept';
  let descriptor = openExisting(path);
  if (descriptor === undefined && !create) {
    report({ kind: 'path-skipped', path, reason: 'does not exist; a run creates it' });
    return undefined;
  }
  if (descriptor === undefined) {
    createDirectory(path, identity);
    action = 'created';
    descriptor = openExisting(path);
  }
  if (descriptor === undefined) throw refused(path, 'vanished while it was prepared', 'ENOENT');
  try {
    refuseDevice(path, descriptor);
  } catch (error) {
    posix().close(descriptor);
    throw error;
  }
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

/**
 * A descriptor (O_PATH) of a path that no symbolic link leads to.
 * @throws CastellanError `filesystem_refused` for anything but success and absence.
 */
export function openExisting(path: string): number | undefined {
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
