/** Reading one output of a process to its end, which may be before nobody holds it any more: a daemon may for ever. */
import type { Readable } from 'node:stream';

/** Silence this long after the exit is the end: what the process wrote is in a kernel buffer by then. */
const DRAINED_AFTER_MS = 100;
/** More than a pipe holds (pipe(7), pipe-max-size) and what Node has read ahead: what still comes is another process's. */
const LAST_OUTPUT_BYTES = 2 * 1024 * 1024;

/** Resolves when the stream has ended, or the process has and all that it wrote was taken. `take` resolves when more may come. */
export async function readOutput(
  from: Readable,
  exited: Promise<unknown>,
  take: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  let left = Number.POSITIVE_INFINITY;
  let taking = false;
  let stopped = false;
  let silence: NodeJS.Timeout | undefined;
  const stop = () => {
    if (taking || silence === undefined) return;
    stopped = true;
    from.destroy();
  };
  // A busy event loop runs a late timer before it reads: the check comes after one more round of reading.
  const listen = () => {
    silence = setTimeout(() => setImmediate(stop), DRAINED_AFTER_MS);
  };
  const heard = () => {
    clearTimeout(silence);
    silence = undefined;
  };
  void exited.then(() => {
    left = LAST_OUTPUT_BYTES;
    if (!taking) listen();
  });
  try {
    for await (const chunk of from) {
      heard();
      taking = true;
      await take(chunk);
      taking = false;
      left -= chunk.length;
      if (left <= 0) break;
      if (left < Number.POSITIVE_INFINITY) listen();
    }
  } catch (error) {
    // Stopping destroys the stream under the loop.
    if (!stopped) throw error;
  } finally {
    heard();
  }
}
