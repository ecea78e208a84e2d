/**
 * The working directory becomes the sandbox user's, by changing owners on the disk or by a mount through which the agent sees
 * itself as the owner: where a platform names a uid, what was prepared for another has to be his.
 */
import { fstatSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { OwnershipCounts, Report } from '../audit/event.ts';
import type { OwnershipMethod, RunConfig } from '../config/config.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { type OwnedTree, posix } from '../kernel/posix.ts';
import type { SandboxIdentity } from '../launch/cell.ts';
import type { MountStep } from '../launch/spec.ts';
import { openExisting, type PreparedFilesystem } from './filesystem.ts';
import { covers, type OwnPlace } from './path-plan.ts';

export interface OwnershipQuestion {
  /** What the operator wrote. */
  readonly asked: OwnershipMethod | undefined;
  readonly mode: RunConfig['mode'];
  readonly identity: Pick<SandboxIdentity, 'uid' | 'gid' | 'source'>;
  readonly workingDirectory: string;
  /** Undefined when the working directory is not granted for writing. */
  readonly workspace: WorkspaceFacts | undefined;
}

export interface WorkspaceFacts {
  readonly uid: number;
  readonly gid: number;
  readonly isDirectory: boolean;
  /** Everybody may write there, and nobody remove what is another's: /tmp and its like. */
  readonly isShared: boolean;
  /** A socket directory or log of castellan's own below it. */
  readonly ownPlace: string | undefined;
}

export type OwnershipPlan =
  | { readonly method: 'none' }
  | { readonly method: 'chown' }
  /** `chown` otherwise: a map is taken only where every entry is the one owner's, because it hides the others' from the agent. */
  | { readonly method: 'idmap'; readonly otherwise: 'chown' | 'refuse' };

const NONE: OwnershipPlan = { method: 'none' };

/**
 * What is to be done. Pure. Unasked, only a platform's identity means that the directory was prepared for somebody else.
 * @throws CastellanError `privilege_missing` without root, `filesystem_refused` for a place that must not be given away
 */
export function ownershipPlan(question: OwnershipQuestion): OwnershipPlan {
  const { asked, mode, identity, workingDirectory, workspace } = question;
  if (asked === undefined) {
    if (identity.source !== 'driver' || mode !== 'root' || !workspace?.isDirectory || workspace.isShared)
      return NONE;
    return planFor('auto', identity, workingDirectory, workspace);
  }
  if (asked === 'none') return NONE;
  if (mode !== 'root')
    throw new CastellanError('privilege_missing', `--ownership ${asked} takes root`, {
      step: 'ownership',
      object: workingDirectory,
      remedy: 'start castellan as root, or leave --ownership out',
    });
  if (workspace === undefined)
    throw refused(workingDirectory, 'is not granted for writing, so nobody has to own it');
  if (!workspace.isDirectory) throw refused(workingDirectory, 'is not a directory');
  if (workspace.isShared) throw refused(workingDirectory, 'is everybody’s, and cannot be given to one');
  return planFor(asked, identity, workingDirectory, workspace);
}

function planFor(
  method: Exclude<OwnershipMethod, 'none'>,
  { uid, gid }: OwnershipQuestion['identity'],
  path: string,
  workspace: WorkspaceFacts,
): OwnershipPlan {
  const isOwner = workspace.uid === uid && workspace.gid === gid;
  // Whoever stands for root on the disk could leave setuid programs of root's there.
  const isRoots = workspace.uid === 0 || workspace.gid === 0;
  if (method === 'idmap') {
    if (isRoots) throw refused(path, 'is root’s, whom nobody may stand for');
    return isOwner ? NONE : { method: 'idmap', otherwise: 'refuse' };
  }
  // Whoever gets the log or the sockets can remove them.
  if (workspace.ownPlace !== undefined)
    throw refused(path, `holds ${workspace.ownPlace}, which is castellan’s own`);
  return method === 'chown' || isRoots || isOwner
    ? { method: 'chown' }
    : { method: 'idmap', otherwise: 'chown' };
}

export interface Ownership extends Disposable {
  readonly mounts: readonly MountStep[];
}

export interface OwnershipParts {
  readonly config: RunConfig;
  readonly identity: SandboxIdentity;
  readonly files: PreparedFilesystem;
  readonly own: readonly OwnPlace[];
  /** False only looks: nothing on the disk changes. */
  readonly create: boolean;
  readonly report: Report;
}

interface Workspace extends WorkspaceFacts {
  readonly path: string;
  readonly descriptor: number;
}

/**
 * Plans and does it.
 * @throws CastellanError as ownershipPlan(); `filesystem_refused` when an owner cannot be changed; `kernel_feature_missing`
 * when a map is asked for and cannot be had
 */
export async function takeOwnership(parts: OwnershipParts): Promise<Ownership> {
  const { config, identity } = parts;
  const { ownership: asked, mode, workingDirectory } = config;
  using held = new DisposableStack();
  const workspace = findWorkspace(parts, held);
  const plan = ownershipPlan({ asked, mode, identity, workingDirectory, workspace });
  const mounts: MountStep[] = [];
  if (workspace !== undefined && plan.method !== 'none') {
    const map = plan.method === 'idmap' ? await mapOwners(parts, workspace, plan.otherwise, held) : undefined;
    if (map !== undefined) mounts.push(map);
    else if (parts.create) await changeOwners(parts, workspace);
  }
  const kept = held.move();
  return { mounts, [Symbol.dispose]: () => kept.dispose() };
}

/** The working directory, where it or a parent of it is granted for writing. */
function findWorkspace({ config, files, own }: OwnershipParts, held: DisposableStack): Workspace | undefined {
  const path = config.workingDirectory;
  const writable = files.granted.filter(({ access }) => access === 'write');
  if (!writable.some((granted) => covers(granted.path, path))) return undefined;
  const descriptor = writable.find((granted) => granted.path === path)?.descriptor ?? openBelow(path, held);
  if (descriptor === undefined) return undefined;
  const facts = fstatSync(descriptor);
  return {
    path,
    descriptor,
    uid: facts.uid,
    gid: facts.gid,
    isDirectory: facts.isDirectory(),
    isShared: (facts.mode & STICKY_AND_OPEN) === STICKY_AND_OPEN,
    ownPlace: own.find((place) => covers(path, place.path))?.path,
  };
}

/** inode(7): the sticky bit, and writing for others. */
const STICKY_AND_OPEN = 0o1002;

function openBelow(path: string, held: DisposableStack): number | undefined {
  const descriptor = openExisting(path);
  if (descriptor !== undefined) held.defer(() => posix().close(descriptor));
  return descriptor;
}

async function mapOwners(
  { identity: { uid, gid }, report }: OwnershipParts,
  workspace: Workspace,
  otherwise: 'chown' | 'refuse',
  held: DisposableStack,
): Promise<MountStep | undefined> {
  const { path, descriptor, uid: diskUid, gid: diskGid } = workspace;
  if (otherwise === 'chown' && !(await isOneOwners(workspace))) return undefined;
  let userNamespace: number;
  try {
    userNamespace = posix().mapIds(diskUid, diskGid, uid, gid);
    held.defer(() => posix().close(userNamespace));
    posix().canMapIds(descriptor, userNamespace);
  } catch (error) {
    if (otherwise === 'chown') return undefined;
    const errno = errnoOf(error);
    throw new CastellanError('kernel_feature_missing', `${path} cannot be mounted with mapped ids`, {
      step: 'ownership',
      object: path,
      remedy: 'use --ownership chown, or a file system and kernel with id-mapped mounts',
      cause: error,
      ...(errno && { errno }),
    });
  }
  report({ kind: 'workspace-mapped', path, diskUid, diskGid, uid, gid });
  return { kind: 'id-map', userNamespace, descriptor, path };
}

/** Ends at the first entry that the agent would not own; other mounts below keep their ids, so there must be none. */
async function isOneOwners({ descriptor, uid, gid }: Workspace): Promise<boolean> {
  const { failure, changed, mounts } = await walk(descriptor, uid, gid, 1);
  return failure === undefined && changed === 0 && mounts === 0;
}

/** What a previous tenant moves about while we walk is found by another pass; one who goes on for ever is not waited for. */
const MAX_PASSES = 3;

async function changeOwners(
  { identity: { uid, gid }, report }: OwnershipParts,
  { path, descriptor }: Workspace,
): Promise<void> {
  let changed = 0;
  let counts: OwnershipCounts | undefined;
  for (let pass = 0; pass < MAX_PASSES && (counts === undefined || counts.moved > 0); pass++) {
    const { failure, ...met } = await walk(descriptor, uid, gid, 0);
    if (failure !== undefined) throw ownerKept(join(path, failure.path), `${uid}:${gid}`, failure);
    changed += met.changed;
    counts = { ...met, changed };
  }
  if (counts !== undefined) report({ kind: 'workspace-owned', path, uid, gid, counts });
}

function walk(descriptor: number, uid: number, gid: number, survey: 0 | 1): Promise<OwnedTree> {
  return posix().ownTree(descriptor, uid, gid, availableParallelism(), survey);
}

function ownerKept(
  path: string,
  owner: string,
  failure: { readonly syscall: string; readonly code: string },
) {
  return new CastellanError(
    'filesystem_refused',
    `${path} cannot be given to ${owner} (${failure.syscall})`,
    {
      step: 'ownership',
      object: path,
      errno: failure.code,
      remedy: 'a file system without owners takes --ownership none',
    },
  );
}

function refused(path: string, problem: string): CastellanError {
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'ownership',
    object: path,
    remedy: 'choose another --ownership, or another --workdir',
  });
}
