/**
 * Puts a bundle where other containers find it. The copy gets a name of its own, by what is in it, and is made under another name:
 * who starts DIRECTORY/bin/castellan meets the old one or the new one, and never a half.
 */
import { createHash, randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, open, readFile, readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type BundleFile, MANIFEST_FILE, parseManifest } from '../config/bundle-manifest.ts';
import { CastellanError, errnoOf } from '../errors.ts';

export interface CopiedBundle {
  /** Of the copy itself; `DIRECTORY/bin` leads there. */
  readonly path: string;
  readonly version: string;
  /** False where the same copy was there already, whole. */
  readonly copied: boolean;
}

/** Enough of the digest that two versions never meet. */
const NAME_DIGITS = 16;
const BLOCK_BYTES = 1024 * 1024;
const OPEN_MODE = 0o755;
/** Copies that start at once meet once or twice. */
const MAX_ATTEMPTS = 10;

/** The program's name where OpenShell's drivers look for their supervisor. */
const OPENSHELL_PROGRAM = 'openshell-sandbox';

/**
 * Copies the bundle at `root` into `directory`, or finds it there. `uid` is this process's own.
 * @throws CastellanError `install_incomplete` where the bundle is not what its manifest says, `filesystem_refused` where it cannot be put
 */
export async function copySelf(root: string, directory: string, uid: number): Promise<CopiedBundle> {
  return copyInto(root, directory, uid, (name) => pointTo(join(directory, 'bin'), `${name}/bin`, ['link']));
}

/**
 * The same beside `program`, which then runs it as openshell-sandbox: a link into the copy, in the place of an earlier link or program.
 * @throws CastellanError as copySelf()
 */
export async function copySelfAs(root: string, program: string, uid: number): Promise<CopiedBundle> {
  return copyInto(root, dirname(program), uid, (name) =>
    pointTo(program, `${name}/bin/${OPENSHELL_PROGRAM}`, ['link', 'file']),
  );
}

/** Where the program goes: the path itself, or its usual name in a directory that is there, or that a slash says there is to be. */
export async function programPath(path: string, isDirectory: boolean): Promise<string> {
  const facts = await stat(path).catch(() => undefined);
  return isDirectory || facts?.isDirectory() ? join(path, OPENSHELL_PROGRAM) : path;
}

async function copyInto(
  root: string,
  directory: string,
  uid: number,
  point: (name: string) => Promise<void>,
): Promise<CopiedBundle> {
  const text = await readManifest(root);
  const { files, version } = parseManifest(text);
  const name = `.castellan-${createHash('sha256').update(text).digest('hex').slice(0, NAME_DIGITS)}`;
  const path = join(directory, name);
  const listed = [...files, manifestEntry(text)];
  try {
    if ((await mkdir(directory, { recursive: true })) !== undefined) await chmod(directory, OPEN_MODE);
    const wasThere = await isThere(path, { files: listed, uid });
    if (!wasThere) await copyAll(root, path, { files: listed, uid });
    await point(name);
    return { path, version, copied: !wasThere };
  } catch (error) {
    if (error instanceof CastellanError) throw error;
    const errno = errnoOf(error);
    throw refused(directory, 'cannot take the bundle', errno);
  }
}

async function readManifest(root: string): Promise<string> {
  try {
    return await readFile(join(root, MANIFEST_FILE), 'utf8');
  } catch (error) {
    const errno = errnoOf(error);
    throw new CastellanError('install_incomplete', `${root} is no bundle: it has no ${MANIFEST_FILE}`, {
      step: 'copy-self',
      object: root,
      remedy: 'make one by npm run bundle, and start copy-self from it',
      ...(errno && { errno }),
    });
  }
}

/** It cannot list itself. */
function manifestEntry(text: string): BundleFile {
  const sha256 = createHash('sha256').update(text).digest('hex');
  return { path: MANIFEST_FILE, size: Buffer.byteLength(text), executable: false, sha256 };
}

interface Wanted {
  readonly files: readonly BundleFile[];
  /** Whose a copy has to be. */
  readonly uid: number;
}

async function copyAll(root: string, path: string, wanted: Wanted): Promise<void> {
  const { files } = wanted;
  const draft = `${path}.new-${randomBytes(4).toString('hex')}`;
  try {
    for (const place of directoriesOf(files)) {
      await mkdir(join(draft, place));
      // Whatever the umask: any uid may enter.
      await chmod(join(draft, place), OPEN_MODE);
    }
    for (const file of files) await copyFile(join(root, file.path), join(draft, file.path), file);
    await syncDirectory(draft);
    await putInPlace(draft, path, wanted);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Another copy may have come first, and is as good where it is whole; what is not goes away under another name. */
async function putInPlace(draft: string, path: string, wanted: Wanted): Promise<void> {
  for (let attempt = 1; ; attempt++)
    try {
      return await rename(draft, path);
    } catch (error) {
      if (attempt === MAX_ATTEMPTS || !['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(errnoOf(error) ?? ''))
        throw error;
      if (await isThere(path, wanted)) return;
      const aside = `${path}.old-${randomBytes(4).toString('hex')}`;
      await rename(path, aside).catch(ignoreAbsence);
      await rm(aside, { recursive: true, force: true });
    }
}

function ignoreAbsence(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error;
}

/** Parents first; the first is the root of all. */
function directoriesOf(files: readonly BundleFile[]): readonly string[] {
  const found = new Set(['.']);
  for (const { path } of files)
    for (let place = dirname(path); place !== '.'; place = dirname(place)) found.add(place);
  return [...found].sort();
}

async function isThere(path: string, { files, uid }: Wanted): Promise<boolean> {
  return (await isOurs(path, uid)) && (await isWhole(path, files));
}

/** A directory that nobody else can have put there or changed: what is looked at is then what will be run. */
async function isOurs(path: string, uid: number): Promise<boolean> {
  try {
    const facts = await lstat(path);
    return facts.isDirectory() && facts.uid === uid && (facts.mode & 0o022) === 0;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** What is written is what has been measured. */
async function copyFile(from: string, to: string, { path, sha256, executable }: BundleFile): Promise<void> {
  await using source = await open(from, 'r');
  await using target = await open(to, 'wx', 0o600);
  const digest = createHash('sha256');
  const block = Buffer.alloc(BLOCK_BYTES);
  for (;;) {
    const { bytesRead } = await source.read(block, 0, block.length);
    if (bytesRead === 0) break;
    digest.update(block.subarray(0, bytesRead));
    await target.writeFile(block.subarray(0, bytesRead));
  }
  if (digest.digest('hex') !== sha256)
    throw new CastellanError('install_incomplete', `${path} of the bundle is not what its manifest says`, {
      step: 'copy-self',
      object: path,
    });
  // Whatever the umask: any uid may run it, and none may change it.
  await target.chmod(executable ? 0o555 : 0o444);
  await target.sync();
}

async function isWhole(path: string, files: readonly BundleFile[]): Promise<boolean> {
  for (const file of files) if (!(await isIntact(join(path, file.path), file))) return false;
  return true;
}

async function isIntact(path: string, { size, sha256, executable }: BundleFile): Promise<boolean> {
  try {
    const facts = await lstat(path);
    if (!facts.isFile() || facts.size !== size) return false;
    if ((facts.mode & 0o777) !== (executable ? 0o555 : 0o444)) return false;
    await using file = await open(path, 'r');
    const digest = createHash('sha256');
    for await (const block of file.createReadStream({ autoClose: false })) digest.update(block as Buffer);
    return digest.digest('hex') === sha256;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

/** The link is exchanged in one step, where what is there may go. */
async function pointTo(link: string, target: string, replaces: readonly ('link' | 'file')[]): Promise<void> {
  const before = await lstat(link).catch((error: unknown) => ignoreAbsence(error));
  const kind = before?.isSymbolicLink() ? 'link' : before?.isFile() ? 'file' : 'other';
  if (before !== undefined && !replaces.some((each) => each === kind))
    throw refused(link, 'is not a link of an earlier copy', 'EEXIST');
  if (kind === 'link' && (await readlink(link)) === target) return;
  const draft = `${link}.new-${randomBytes(4).toString('hex')}`;
  await symlink(target, draft);
  await rename(draft, link);
  await syncDirectory(dirname(link));
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}

function refused(path: string, problem: string, errno: string | undefined): CastellanError {
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'copy-self',
    object: path,
    ...(errno && { errno }),
  });
}
