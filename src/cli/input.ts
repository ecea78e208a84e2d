/** Texts that a verb is given by name. */
import { open } from 'node:fs/promises';
import { CastellanError, errnoOf } from '../errors.ts';

/** Far above any manifest; what is larger is another file. */
const MAX_INPUT_BYTES = 8 * 1024 * 1024;

/**
 * The text of a file, or of standard input for `-`.
 * @throws CastellanError `manifest_invalid` for what cannot be read, or is too large
 */
export async function readInput(file: string, stdin: NodeJS.ReadStream): Promise<string> {
  if (file === '-') return readAll(stdin, 'standard input');
  try {
    await using opened = await open(file, 'r');
    return await readAll(opened.createReadStream({ autoClose: false }), file);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    throw unreadable(file, 'cannot be read', errno);
  }
}

async function readAll(stream: AsyncIterable<Buffer | string>, name: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    chunks.push(Buffer.from(chunk));
    bytes += chunk.length;
    if (bytes > MAX_INPUT_BYTES) throw unreadable(name, `is larger than ${MAX_INPUT_BYTES} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function unreadable(file: string, problem: string, errno?: string): CastellanError {
  return new CastellanError('manifest_invalid', `${file} ${problem}`, {
    step: 'kubernetes',
    object: file,
    ...(errno !== undefined && { errno }),
    remedy: 'name a file that can be read',
  });
}
