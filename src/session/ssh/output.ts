import type { Writable } from 'node:stream';
import type { ServerChannel } from 'ssh2';

/** Where ssh2's Channel keeps data, and the callback for it, that wait for the client to open its window. */
interface Waiting {
  _chunk: unknown;
  _chunkcb: unknown;
  _chunkErr: unknown;
  _chunkcbErr: unknown;
}

/**
 * Writes to a channel's two outputs, one piece at a time, each resolving when the client took it or is gone.
 *
 * ssh2 1.17 keeps the waiting data of both outputs apart but forgets neither after sending it: the next window that opens
 * sends the first output's old data again and leaves the second one waiting. So there is never more than one piece under
 * way, and what ssh2 remembers of it is cleared. And once a channel has closed, it never calls back.
 */
export function channelOutput(
  channel: ServerChannel,
  gone: AbortSignal,
): (to: 'stdout' | 'stderr', chunk: Uint8Array) => Promise<void> {
  const waiting = channel as unknown as Waiting;
  let last: Promise<void> = Promise.resolve();
  const writeOne = (stream: Writable, chunk: Uint8Array) =>
    new Promise<void>((resolve) => {
      if (gone.aborted) return resolve();
      const taken = () => {
        gone.removeEventListener('abort', taken);
        waiting._chunk = waiting._chunkcb = waiting._chunkErr = waiting._chunkcbErr = undefined;
        resolve();
      };
      gone.addEventListener('abort', taken, { once: true });
      stream.write(chunk, taken);
    });
  return (to, chunk) => {
    last = last.then(() => writeOne(to === 'stdout' ? channel : channel.stderr, chunk));
    return last;
  };
}
