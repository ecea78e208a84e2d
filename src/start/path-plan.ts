import { CastellanError } from '../errors.ts';
import type { FilesystemPolicy } from '../policy/document.ts';

export interface PathPlan {
  readonly readWrite: readonly string[];
  readonly readOnly: readonly string[];
  readonly skipped: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * Granted to every agent besides the policy: what any program needs to load its libraries and to know the
 * machine. No writing: the property that a launch never grants more than read_write rests on it.
 */
export const BASELINE_READ: readonly string[] = ['/usr', '/bin', '/sbin', '/lib', '/lib64', '/etc', '/proc'];

/** Character devices without state that programs write to; nothing else outside read_write is writable. */
export const BASELINE_DEVICES: readonly string[] = [
  '/dev/null',
  '/dev/zero',
  '/dev/full',
  '/dev/random',
  '/dev/urandom',
  '/dev/tty',
  '/dev/ptmx',
  '/dev/pts',
];

/** Granting one of these whole for writing would hand over the machine; paths below them are judged on their own. */
const SYSTEM_DIRECTORIES: readonly string[] = [
  '/', '/bin', '/boot', '/dev', '/etc', '/home', '/lib', '/lib32', '/lib64', '/libx32', '/opt', '/proc', '/root', '/run',
  '/sbin', '/srv', '/sys', '/usr', '/var',
]; // biome-ignore format: one list, read at a glance

/** The kernel's own switches: whoever writes there is not confined for long. */
const KERNEL_CONTROLS: readonly string[] = ['/sys/fs', '/sys/kernel', '/proc/sys'];

/** Whether `outer` is `path` or one of its parents. Both absolute and normalised. */
export function covers(outer: string, path: string): boolean {
  return outer === '/' || path === outer || path.startsWith(`${outer}/`);
}

/** A place of castellan's own. Where it is covered by a mount in the agent's view, a parent of it may be granted. */
export interface OwnPlace {
  readonly path: string;
  readonly hidden: boolean;
  /** Reading does no harm (the program itself), or does (sockets, audit). */
  readonly readable: boolean;
  /** A socket at a path of the operator's choice: covered, and no parent may be granted, in which another could take its place. */
  readonly isSocket?: true;
}

/**
 * Which paths to open, and how. Pure.
 * @throws CastellanError `filesystem_refused` for a system directory, or a place of castellan's own.
 */
export function planPaths(
  policy: FilesystemPolicy,
  workingDirectory: string,
  own: readonly OwnPlace[],
): PathPlan {
  const skipped: { path: string; reason: string }[] = [];
  const readWrite = new Set(policy.readWrite);
  if (policy.includeWorkdir) {
    if (SYSTEM_DIRECTORIES.includes(workingDirectory))
      skipped.push({
        path: workingDirectory,
        reason: 'the working directory is a system directory and stays read-only',
      });
    else readWrite.add(workingDirectory);
  }
  const mayLieBelow = ({ hidden, isSocket }: OwnPlace): boolean => hidden && !isSocket;
  for (const path of readWrite) {
    if (SYSTEM_DIRECTORIES.includes(path)) throw refused(path, 'is a system directory');
    if (KERNEL_CONTROLS.some((control) => covers(control, path)))
      throw refused(path, 'holds switches of the kernel');
    const ours = own.find(
      (place) => covers(place.path, path) || (!mayLieBelow(place) && covers(path, place.path)),
    );
    if (ours !== undefined)
      throw refused(path, `would let the agent write ${ours.path}, which is castellan’s own`);
  }
  for (const path of policy.readOnly) {
    const ours = own.find(
      (place) =>
        !place.readable && (covers(place.path, path) || (!mayLieBelow(place) && covers(path, place.path))),
    );
    if (ours !== undefined)
      throw refused(path, `would let the agent read ${ours.path}, which is castellan’s own`);
  }
  const open = own.find(
    ({ path, hidden, readable }) =>
      !hidden && !readable && BASELINE_READ.some((baseline) => covers(baseline, path)),
  );
  if (open !== undefined)
    throw refused(
      open.path,
      'is castellan’s own, and lies where every program may read',
      'choose another place',
    );
  for (const device of BASELINE_DEVICES) readWrite.delete(device);
  return {
    readWrite: [...readWrite],
    readOnly: [...new Set([...BASELINE_READ, ...policy.readOnly])].filter((path) => !readWrite.has(path)),
    skipped,
  };
}

function refused(path: string, problem: string, remedy = 'grant a narrower path'): CastellanError {
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'filesystem',
    object: path,
    remedy,
  });
}
