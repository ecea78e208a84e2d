/**
 * /etc/passwd and /etc/group, read as files (passwd(5), group(5)) and never through NSS: an image must not be able
 * to load its own module into the supervisor, and a static answer is the same in every image.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { CastellanError, errnoOf } from '../errors.ts';
import { parseId } from '../lib/id.ts';

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

export interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** Bounds for files an image may have made: the largest real ones are far below. */
const MAX_FILE_BYTES = 1024 * 1024;
const MAX_LINE_LENGTH = 8192;
const MAX_FIELD_LENGTH = 1024;

/** Malformed lines are passed over, as every consumer of these files does. */
export function parseAccounts(text: string): Account[] {
  return records(text, 7).flatMap(([name = '', , uid = '', gid = '', , home = '', shell = '']) => {
    const [user, group] = [parseId(uid), parseId(gid)];
    return name === '' || user === undefined || group === undefined
      ? []
      : [{ name, uid: user, gid: group, home, shell }];
  });
}

export function parseGroups(text: string): Group[] {
  return records(text, 4).flatMap(([name = '', , gid = '', members = '']) => {
    const id = parseId(gid);
    return name === '' || id === undefined
      ? []
      : [{ name, gid: id, members: members.split(',').filter((m) => m !== '') }];
  });
}

/** A link or a FIFO in an account file's place is an image's trick, and neither may lead or hold up a supervisor. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * The text of an account file; a missing one is empty (images without accounts are common).
 * @throws CastellanError `identity_invalid` when it is there but unreadable, too large or no regular file.
 */
export async function readAccountFile(path: string): Promise<string> {
  try {
    await using file = await open(path, OPEN_FLAGS);
    const facts = await file.stat();
    if (!facts.isFile()) throw refused(path, 'is not a regular file');
    if (facts.size > MAX_FILE_BYTES) throw refused(path, `is larger than ${MAX_FILE_BYTES} bytes`);
    return await file.readFile('utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    if (error instanceof CastellanError) throw error;
    if (errnoOf(error) === 'ELOOP') throw refused(path, 'is a symbolic link', error);
    throw refused(path, 'cannot be read', error);
  }
}

function refused(path: string, problem: string, cause?: unknown): CastellanError {
  const errno = errnoOf(cause);
  return new CastellanError('identity_invalid', `${path} ${problem}`, {
    step: 'identity',
    object: path,
    remedy: `make ${path} a regular file that castellan can read`,
    ...(errno && { errno }),
  });
}

function records(text: string, fields: number): string[][] {
  return text
    .split('\n')
    .filter((line) => line.length <= MAX_LINE_LENGTH && !line.startsWith('#'))
    .map((line) => line.split(':'))
    .filter((parts) => parts.length === fields && parts.every((part) => part.length <= MAX_FIELD_LENGTH));
}
