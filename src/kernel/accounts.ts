/**
 * /etc/passwd and /etc/group, read as files (passwd(5), group(5)) and never through NSS: an image must not be able
 * to load its own module into the supervisor, and a static answer is the same in every image.
 */
import { open } from 'node:fs/promises';
import { CastellanError, errnoOf } from '../errors.ts';

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
const MAX_ID = 4_294_967_294;

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

/** A decimal uid or gid without sign or leading zeros; undefined for anything else, the reserved -1 included. */
export function parseId(text: string): number | undefined {
  if (!/^(0|[1-9]\d{0,9})$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

/**
 * The text of an account file; a missing one is empty (images without accounts are common).
 * @throws CastellanError `identity_invalid` when it is there but unreadable or too large.
 */
export async function readAccountFile(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    if (size > MAX_FILE_BYTES)
      throw new CastellanError('identity_invalid', `${path} is larger than ${MAX_FILE_BYTES} bytes`, {
        step: 'identity',
        object: path,
      });
    return await file.readFile('utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    if (error instanceof CastellanError) throw error;
    const errno = errnoOf(error);
    throw new CastellanError('identity_invalid', `${path} cannot be read`, {
      step: 'identity',
      object: path,
      cause: error,
      ...(errno && { errno }),
    });
  }
}

function records(text: string, fields: number): string[][] {
  return text
    .split('\n')
    .filter((line) => line.length <= MAX_LINE_LENGTH && !line.startsWith('#'))
    .map((line) => line.split(':'))
    .filter((parts) => parts.length === fields);
}
