/** The log file: lines appended in order, one write at a time; important ones are on disk before the next. */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CastellanError, errnoOf } from '../../errors.ts';

export interface FileSink {
  /** Queues a line; false when it had to be dropped because the disk does not keep up. */
  write(line: string, durable: boolean): boolean;
  /** Lines lost since the last call, to an overfull queue. */
  takeDropped(): number;
  /** Resolves when all that was queued is written and on disk. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** Some ten thousand events: a disk that is that far behind will not catch up. */
const MAX_QUEUED_BYTES = 16 * 1024 * 1024;
/** One write takes what has gathered, up to this much. */
const MAX_BATCH_BYTES = 256 * 1024;

/**
 * Opens the log for appending; its directory is made for the owner alone. `onFailure` is called once, when a write
 * fails: from then on nothing is written any more.
 * @throws CastellanError `audit_failed` for a link, a file of another owner or one that others may write.
 */
export async function openFileSink(
  path: string,
  onFailure: (error: CastellanError) => void,
): Promise<FileSink> {
  const file = await openLog(path);
  const queue: { readonly bytes: Buffer; readonly durable: boolean }[] = [];
  let queued = 0;
  let dropped = 0;
  let failed = false;
  let working: Promise<void> | undefined;

  const drain = async () => {
    while (queue.length > 0 && !failed) {
      const batch: Buffer[] = [];
      let size = 0;
      let durable = false;
      while (queue.length > 0 && (size === 0 || size + (queue[0]?.bytes.length ?? 0) <= MAX_BATCH_BYTES)) {
        const next = queue.shift();
        if (next === undefined) break;
        batch.push(next.bytes);
        size += next.bytes.length;
        durable ||= next.durable;
      }
      try {
        await file.appendFile(Buffer.concat(batch));
        if (durable) await file.datasync();
      } catch (error) {
        failed = true;
        onFailure(failure(path, 'cannot be written', error));
      }
      queued -= size;
    }
    working = undefined;
  };
  const flush = async () => {
    await working;
    if (!failed) await file.datasync().catch(() => {});
  };
  return {
    write(line, durable) {
      const bytes = Buffer.from(`${line}\n`);
      if (failed || queued + bytes.length > MAX_QUEUED_BYTES) {
        dropped += 1;
        return false;
      }
      queue.push({ bytes, durable });
      queued += bytes.length;
      working ??= drain();
      return true;
    },
    takeDropped() {
      const count = dropped;
      dropped = 0;
      return count;
    },
    flush,
    async close() {
      await flush();
      await file.close();
    },
  };
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    // Checked before opening as well: a pipe in its place would make open() wait for a reader for ever.
    const before = await lstat(path).catch(() => undefined);
    if (before !== undefined && !before.isFile()) throw failure(path, 'is not a regular file');
    const { O_APPEND, O_CREAT, O_WRONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(path, O_APPEND | O_CREAT | O_WRONLY | O_NOFOLLOW | O_NONBLOCK, 0o600);
    const facts = await file.stat();
    const problem = !facts.isFile()
      ? 'is not a regular file'
      : facts.uid !== process.geteuid?.()
        ? 'belongs to another user'
        : (facts.mode & 0o077) !== 0
          ? 'may be read or written by others'
          : undefined;
    if (problem === undefined) return file;
    await file.close();
    throw failure(path, problem);
  } catch (error) {
    throw error instanceof CastellanError ? error : failure(path, 'cannot be opened', error);
  }
}

function failure(path: string, problem: string, cause?: unknown): CastellanError {
  const errno = errnoOf(cause);
  return new CastellanError('audit_failed', `audit log ${path} ${problem}`, {
    step: 'audit',
    object: path,
    cause,
    ...(errno && { errno }),
  });
}
