/**
 * Copies what an image has in its workspace into the empty volume that will cover it, as whoever calls. Nothing of the image is executed,
 * no link is followed, and nothing is put into a volume that somebody has used.
 */
import {
  chmodSync,
  constants,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  type Stats,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { CastellanError, errnoOf } from '../errors.ts';
import { covers } from './path-plan.ts';

/** There while a copy is under way: the next attempt begins anew, for no agent has run in between. */
const MARKER = '.castellan-seeding';
/** What file systems put into an empty volume by themselves. */
const NOBODYS: readonly string[] = ['lost+found'];
/** As deep as paths go (PATH_MAX, with a name of one letter each). */
const MAX_DEPTH = 2048;

export interface Seeding {
  /** `used`: the volume has something in it; `nothing`: the image has no such directory. */
  readonly outcome: 'copied' | 'used' | 'nothing';
  readonly entries: number;
  /** Devices, sockets, pipes, and what this user may not read. */
  readonly leftOut: number;
}

/** @throws CastellanError `filesystem_refused` for what is no directory, one that holds the other, or cannot be written */
export function seedWorkspace(source: string, volume: string): Seeding {
  if (!isDirectory(volume)) throw refused(volume, 'is no directory');
  const before = readdirSync(volume).filter((name) => !NOBODYS.includes(name));
  if (before.length > 0 && !before.includes(MARKER)) return { outcome: 'used', entries: 0, leftOut: 0 };
  if (!isDirectory(source)) return { outcome: 'nothing', entries: 0, leftOut: 0 };
  const [from, to] = [realpathSync(source), realpathSync(volume)];
  if (covers(from, to) || covers(to, from)) throw refused(source, `and ${volume} hold each other`);
  try {
    for (const name of before) removeTree(join(to, name));
    writeFileSync(join(to, MARKER), '', { flag: 'wx', mode: 0o600 });
    const counts = { entries: 0, leftOut: 0 };
    copyInto(from, to, counts, 0);
    rmSync(join(to, MARKER));
    return { outcome: 'copied', ...counts };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    throw refused(volume, 'cannot be seeded', errno);
  }
}

function copyInto(
  from: string,
  to: string,
  counts: { entries: number; leftOut: number },
  depth: number,
): void {
  if (depth > MAX_DEPTH) throw refused(from, `is nested deeper than ${MAX_DEPTH} levels`);
  for (const name of unlessForbidden(() => readdirSync(from)) ?? []) {
    const [source, target] = [join(from, name), join(to, name)];
    // The image's own, and no business of the volume's.
    if (depth === 0 && (name === MARKER || NOBODYS.includes(name))) continue;
    const facts = lstatSync(source);
    const isCopied = copyEntry(facts, source, target);
    counts.entries += isCopied ? 1 : 0;
    counts.leftOut += isCopied ? 0 : 1;
    if (!isCopied || !facts.isDirectory()) continue;
    copyInto(source, target, counts, depth + 1);
    // Last, for it may not let its owner write.
    chmodSync(target, permissions(facts));
  }
}

function copyEntry(facts: Stats, source: string, target: string): boolean {
  if (facts.isDirectory()) {
    mkdirSync(target, { mode: 0o700 });
    return true;
  }
  if (facts.isSymbolicLink()) {
    symlinkSync(readlinkSync(source), target);
    return true;
  }
  if (!facts.isFile()) return false;
  const copied = unlessForbidden(() => {
    copyFileSync(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    return true;
  });
  if (copied === true) chmodSync(target, permissions(facts));
  return copied === true;
}

/** Without set-id bits, which would be another's. */
function permissions({ mode }: Stats): number {
  return mode & 0o777;
}

/** An image may keep things from its user; they are not part of the workspace then. */
function unlessForbidden<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (errnoOf(error) === 'EACCES') return undefined;
    throw error;
  }
}

/** Directories may have been copied that their owner cannot write. */
function removeTree(path: string): void {
  if (isDirectory(path)) {
    chmodSync(path, 0o700);
    for (const name of readdirSync(path)) removeTree(join(path, name));
  }
  rmSync(path, { recursive: true, force: true });
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function refused(path: string, problem: string, errno?: string): CastellanError {
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'seed',
    object: path,
    ...(errno !== undefined && { errno }),
    remedy: 'give it an empty volume that the sandbox’s user may write',
  });
}
