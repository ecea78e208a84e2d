import { open } from 'node:fs/promises';
import { CastellanError, errnoOf } from '../errors.ts';

/**
 * The lines of a log, one after the other, however many there are.
 * @throws CastellanError `usage` where it cannot be read
 */
export async function* logLines(path: string): AsyncGenerator<string> {
  try {
    await using file = await open(path, 'r');
    yield* file.readLines({ autoClose: false });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    throw new CastellanError('usage', `the log ${path} cannot be read`, {
      step: 'audit',
      object: path,
      errno,
    });
  }
}
