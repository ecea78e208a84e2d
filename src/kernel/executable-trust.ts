/**
 * Trust on first use: an executable's SHA-256 when it was first seen at a path, held against every later sight. A
 * supervisor's restart forgets.
 */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { putLast } from '../lib/put-last.ts';

/** Larger files are no programs; hashing one would keep the process role busy for seconds. */
const MAX_EXECUTABLE_BYTES = 1024 * 1024 * 1024;
/** A cold disk reads the largest runtimes (some 200 MB) in a few seconds. */
const HASH_TIMEOUT_MS = 20_000;
const CHUNK_BYTES = 256 * 1024;
/** Hashes by file; the least recently used goes, at the price of hashing again. */
const MAX_HASHES = 1024;
/** First hashes by path are never forgotten, or an agent could push one out; so new paths are refused beyond this. */
const MAX_PATHS = 8192;

export interface OpenedExecutable extends AsyncDisposable {
  /** Names one content: device, inode, size, mtime and ctime, which no user can set back. */
  readonly fingerprint: string;
  readonly bytes: bigint;
  readonly file: FileHandle;
}

/** Opens `/proc/pid/exe`, which reaches the file itself, whatever has become of its path. Throws as open(2) does. */
export async function openExecutable(pid: number): Promise<OpenedExecutable> {
  const file = await open(`/proc/${pid}/exe`, 'r');
  try {
    const status = await file.stat({ bigint: true });
    return {
      fingerprint: fingerprintOf(status),
      bytes: status.size,
      file,
      [Symbol.asyncDispose]: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** One that was seen; it is opened only to be hashed. */
export interface SeenExecutable {
  readonly fingerprint: string;
  /** Rejects unless what it opens has that fingerprint. */
  open(): Promise<OpenedExecutable>;
}

/**
 * The SHA-256 of an executable, which is hashed at most once a content. Throws an Error with the reason when it differs
 * from the first one seen at the path, or cannot be hashed.
 */
export type ExecutableTrust = (path: string, executable: SeenExecutable) => Promise<string>;

/** An empty memory; `limits` are for tests. */
export function createExecutableTrust(limits = { hashes: MAX_HASHES, paths: MAX_PATHS }): ExecutableTrust {
  const hashes = new Map<string, Promise<string>>();
  const firstSeen = new Map<string, string>();

  const hashOf = (executable: SeenExecutable): Promise<string> => {
    const { fingerprint } = executable;
    const hash = hashes.get(fingerprint) ?? hashSeen(executable);
    putLast(hashes, fingerprint, hash, limits.hashes);
    hash.catch(() => hashes.get(fingerprint) === hash && hashes.delete(fingerprint));
    return hash;
  };

  return async (path, executable) => {
    const sha256 = await hashOf(executable);
    const first = firstSeen.get(path);
    if (first === sha256) return sha256;
    if (first !== undefined) throw new Error(`the executable ${path} has changed since its first use`);
    if (firstSeen.size >= limits.paths) throw new Error('too many different executables have been seen');
    firstSeen.set(path, sha256);
    return sha256;
  };
}

async function hashSeen(executable: SeenExecutable): Promise<string> {
  await using opened = await executable.open();
  return await hashFile(opened);
}

async function hashFile({ fingerprint, bytes, file }: OpenedExecutable): Promise<string> {
  if (bytes > MAX_EXECUTABLE_BYTES) throw new Error('the executable is too large to be hashed');
  const deadline = performance.now() + HASH_TIMEOUT_MS;
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let position = 0; ; ) {
    const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, position);
    if (bytesRead === 0) break;
    hash.update(chunk.subarray(0, bytesRead));
    position += bytesRead;
    if (performance.now() > deadline) throw new Error('hashing the executable took too long');
  }
  if (fingerprintOf(await file.stat({ bigint: true })) !== fingerprint)
    throw new Error('the executable changed while it was read');
  return hash.digest('hex');
}

function fingerprintOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}
