/** The log file: lines appended in order, one write at a time; important ones are on disk before the next. */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CastellanError, errnoOf } from '../../errors.ts';

export interface LineWriter {
  /** False while the disk is so far behind that nothing more may be queued; important lines keep some room. */
  hasRoom(important: boolean): boolean;
  /** Queues a line. Important ones are flushed to the disk as soon as they are written. */
  write(line: string, important: boolean): void;
  /** Lines that a failure kept from the file. */
  readonly lost: number;
  /** Resolves when all that was queued is on disk, or cannot be. Never rejects. */
  flush(): Promise<void>;
  /** Flushes, within a deadline, and closes. Never rejects. */
  close(): Promise<void>;
}

/** Some ten thousand events: a disk that is that far behind will not catch up. */
const MAX_QUEUED_BYTES = 16 * 1024 * 1024;
/** A flood of small things must not be able to push out the important one among them. */
const IMPORTANT_BYTES = 1024 * 1024;
/** One write takes what has gathered, up to this much. */
const MAX_BATCH_BYTES = 256 * 1024;
/** A disk that takes longer to sync is stuck, and the end of the sandbox must not be. */
const CLOSE_DEADLINE_MS = 5000;

interface Line {
  readonly bytes: Buffer;
  readonly important: boolean;
}

/**
 * Writes lines to `file` and owns it. `onFailure` is called once, at the first write that fails: from then on nothing is
 * written any more, and what was written ends with a whole line.
 */
export function startWriter(
  file: FileHandle,
  path: string,
  onFailure: (error: CastellanError) => void,
): LineWriter {
  let queue: Line[] = [];
  let queuedBytes = 0;
  let lost = 0;
  let failed = false;
  let draining: Promise<void> | undefined;

  const fail = (problem: string, cause?: unknown) => {
    if (failed) return;
    failed = true;
    lost += queue.length;
    queue = [];
    onFailure(failure(path, problem, cause));
  };
  const drain = async () => {
    while (queue.length > 0) {
      const batch = takeBatch(queue);
      const bytes = Buffer.concat(batch.map((line) => line.bytes));
      try {
        await appendWhole(file, bytes);
        if (batch.some(({ important }) => important)) await file.datasync();
      } catch (error) {
        lost += batch.length;
        fail('cannot be written', error);
      }
      queuedBytes -= bytes.length;
    }
    draining = undefined;
  };
  const flush = async () => {
    await draining;
    if (!failed) await file.datasync().catch((error: unknown) => fail('cannot be written', error));
  };
  return {
    get lost() {
      return lost;
    },
    hasRoom: (important) => queuedBytes < MAX_QUEUED_BYTES + (important ? IMPORTANT_BYTES : 0),
    write(line, important) {
      if (failed) {
        lost += 1;
        return;
      }
      const bytes = Buffer.from(`${line}\n`);
      queue.push({ bytes, important });
      queuedBytes += bytes.length;
      draining ??= drain();
    },
    flush,
    async close() {
      const late = await isLate(flush(), CLOSE_DEADLINE_MS);
      if (late) fail('cannot be written: the disk does not answer');
      else await file.close().catch((error: unknown) => fail('cannot be closed', error));
    },
  };
}

function takeBatch(queue: Line[]): Line[] {
  let size = 0;
  const end = queue.findIndex(({ bytes }) => {
    size += bytes.length;
    return size > MAX_BATCH_BYTES;
  });
  return queue.splice(0, end < 0 ? queue.length : Math.max(end, 1));
}

/** Appends all, or takes back the part that was: a full disk must not leave half a record. */
async function appendWhole(file: FileHandle, bytes: Buffer): Promise<void> {
  let written = 0;
  try {
    while (written < bytes.length) written += (await file.write(bytes, written)).bytesWritten;
  } catch (error) {
    if (written > 0) await takeBack(file, bytes.subarray(0, written)).catch(() => {});
    throw error;
  }
}

/** Only where the end of the file is still ours: another run may append to it. */
async function takeBack(file: FileHandle, part: Buffer): Promise<void> {
  const start = (await file.stat()).size - part.length;
  const { buffer } = await file.read(Buffer.alloc(part.length), 0, part.length, start);
  if (start >= 0 && buffer.equals(part)) await file.truncate(start);
}

async function isLate(work: Promise<void>, limitMs: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, limitMs, true);
  try {
    return await Promise.race([work.then(() => false), late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Opens the log for appending; directories that are missing are made for the owner alone.
 * @throws CastellanError `audit_failed` for a link, anything but a file, a file that others own, name or may open, and a
 *   directory where others could put another in its place.
 */
export async function openLog(path: string): Promise<FileHandle> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const directory = await stat(dirname(path));
    const sticky = (directory.mode & 0o1000) !== 0;
    if ((directory.mode & 0o002) !== 0 && !sticky)
      throw failure(path, 'lies in a directory that everybody may write');
    // Before opening as well: a device could act on being opened.
    const before = await lstat(path).catch(() => undefined);
    if (before !== undefined && !before.isFile()) throw failure(path, 'is not a regular file');
    const { O_APPEND, O_CREAT, O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(path, O_APPEND | O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0o600);
    try {
      await checkLog(file, path);
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (error) {
    throw error instanceof CastellanError ? error : failure(path, 'cannot be opened', error);
  }
}

async function checkLog(file: FileHandle, path: string): Promise<void> {
  const facts = await file.stat();
  const { uid, mode, nlink, size } = facts;
  if (!facts.isFile()) throw failure(path, 'is not a regular file');
  if (uid !== process.geteuid?.()) throw failure(path, 'belongs to another user');
  if ((mode & 0o077) !== 0) throw failure(path, 'may be read or written by others');
  if (nlink !== 1) throw failure(path, 'has another name as well');
  if (size === 0) return;
  // A run that lost its power may have left half a line: the next record must not become part of it.
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  if (buffer.toString() !== '\n') await file.write('\n');
}

function failure(path: string, problem: string, cause?: unknown): CastellanError {
  const errno = errnoOf(cause);
  const told = errno === undefined ? problem : `${problem}: ${errno}`;
  return new CastellanError('audit_failed', `audit log ${path} ${told}`, {
    step: 'audit',
    object: path,
    cause,
    ...(errno && { errno }),
  });
}
