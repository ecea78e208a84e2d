/** The working directory becomes the sandbox user's: where a platform names a uid, what was prepared for another has to be his. */
import { fstatSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Report } from '../audit/event.ts';
import type { OwnershipMethod, RunConfig } from '../config/config.ts';
import { CastellanError } from '../errors.ts';
import { type OwnedTree, posix } from '../kernel/posix.ts';
import type { SandboxIdentity } from '../launch/cell.ts';
import type { MountStep } from '../launch/spec.ts';
import type { GrantedPath, PreparedFilesystem } from './filesystem.ts';

export interface Ownership extends Disposable {
  readonly mounts: readonly MountStep[];
}

/**
 * What is to be done. Pure. Unasked, only a platform's identity means that the directory was prepared for somebody else.
 * @throws CastellanError `privilege_missing` without root, `filesystem_refused` where the directory is not granted for writing
 */
export function ownershipPlan(
  { ownership, mode, workingDirectory }: Pick<RunConfig, 'ownership' | 'mode' | 'workingDirectory'>,
  source: string,
  isGranted: boolean,
): OwnershipMethod {
  if (ownership === undefined) return source === 'driver' && mode === 'root' && isGranted ? 'auto' : 'none';
  if (ownership === 'none') return 'none';
  if (mode !== 'root')
    throw new CastellanError('privilege_missing', `--ownership ${ownership} takes root`, {
      step: 'ownership',
      object: workingDirectory,
      remedy: 'start castellan as root, or leave --ownership out',
    });
  if (isGranted) return ownership;
  throw refused(workingDirectory, 'is not granted for writing, so nobody has to own it');
}

/**
 * Does it. `create` false only looks: nothing on the disk changes.
 *
 * auto maps ids where all of the tree is one other user's and the file system can; anything else would leave files that the
 * agent cannot reach, so then owners are changed.
 */
export async function takeOwnership(
  config: RunConfig,
  identity: SandboxIdentity,
  files: PreparedFilesystem,
  create: boolean,
  report: Report,
): Promise<Ownership> {
  const { workingDirectory } = config;
  const workspace = files.granted.find(({ path, access }) => path === workingDirectory && access === 'write');
  const method = ownershipPlan(config, identity.source, workspace !== undefined);
  if (method === 'none' || workspace === undefined) return nothing();
  if (!workspace.isDirectory) throw refused(workingDirectory, 'is not a directory');
  if (method === 'idmap') return mapOwners(workspace, identity, report);
  if (method === 'auto') {
    const mapped = await mapIfOneOwner(workspace, identity, report);
    if (mapped !== undefined) return mapped;
  }
  if (create) await changeOwners(workspace, identity, report);
  return nothing();
}

function nothing(): Ownership {
  return { mounts: [], [Symbol.dispose]() {} };
}

async function changeOwners(
  workspace: GrantedPath,
  { uid, gid }: SandboxIdentity,
  report: Report,
): Promise<void> {
  const { path, descriptor } = workspace;
  const { failure, ...counts } = await walk(descriptor, uid, gid, 0);
  if (failure !== undefined)
    throw refused(
      failure.path === '' ? path : `${path}/${failure.path}`,
      `cannot be given to ${uid}:${gid} (${failure.syscall})`,
      failure.code,
    );
  report({ kind: 'workspace-owned', path, uid, gid, counts });
}

async function mapIfOneOwner(
  workspace: GrantedPath,
  identity: SandboxIdentity,
  report: Report,
): Promise<Ownership | undefined> {
  const { uid, gid } = fstatSync(workspace.descriptor);
  if (uid === 0 || gid === 0 || (uid === identity.uid && gid === identity.gid)) return undefined;
  const { failure, changed, mounts } = await walk(workspace.descriptor, uid, gid, 1);
  if (failure !== undefined || changed > 0 || mounts > 0) return undefined;
  try {
    return mapOwners(workspace, identity, report);
  } catch (error) {
    if (error instanceof CastellanError) return undefined;
    throw error;
  }
}

function mapOwners(
  { path, descriptor }: GrantedPath,
  { uid, gid }: SandboxIdentity,
  report: Report,
): Ownership {
  const disk = fstatSync(descriptor);
  if (disk.uid === uid && disk.gid === gid) return nothing();
  if (disk.uid === 0 || disk.gid === 0)
    throw refused(path, 'is root’s, whom nobody may stand for: use --ownership chown');
  let userNamespace: number | undefined;
  try {
    userNamespace = posix().mapIds(disk.uid, disk.gid, uid, gid);
    posix().canMapIds(descriptor, userNamespace);
  } catch (error) {
    if (userNamespace !== undefined) posix().close(userNamespace);
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
    throw refused(path, 'lies on a file system, or under a kernel, without id-mapped mounts', code);
  }
  const kept = userNamespace;
  report({ kind: 'workspace-mapped', path, diskUid: disk.uid, diskGid: disk.gid, uid, gid });
  return {
    mounts: [{ kind: 'id-map', userNamespace: kept, descriptor, path }],
    [Symbol.dispose]: () => posix().close(kept),
  };
}

function walk(descriptor: number, uid: number, gid: number, survey: 0 | 1): Promise<OwnedTree> {
  return posix().ownTree(descriptor, uid, gid, availableParallelism(), survey);
}

function refused(path: string, problem: string, errno?: string): CastellanError {
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'ownership',
    object: path,
    ...(errno && { errno }),
  });
}
