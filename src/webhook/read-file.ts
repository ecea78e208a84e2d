import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { CastellanError, errnoOf } from '../errors.ts';

/**
 * The text of a file that a volume brings. Not blocking: a FIFO would wait for its writer.
 * @throws CastellanError `usage` with what the file is for
 */
export async function readMountedFile(path: string, what: string, maxBytes: number): Promise<string> {
  const refused = (problem: string, errno?: string) =>
    new CastellanError('usage', `${what} ${path} ${problem}`, {
      step: 'webhook',
      object: path,
      ...(errno && { errno }),
      remedy: 'mount the file, readable for the uid that castellan runs as',
    });
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = await file.stat();
    if (!facts.isFile()) throw refused('is not a regular file');
    if (facts.size > maxBytes) throw refused(`is larger than ${maxBytes} bytes`);
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof CastellanError) throw error;
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    throw refused('cannot be read', errno);
  }
}
