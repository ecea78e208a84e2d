/** Copying between a client and a process, with backpressure. */
import type { Readable, Writable } from 'node:stream';

export interface InputRelay {
  /** Sees what the client sent, and gives what the process is to get. */
  readonly filter?: (chunk: Buffer) => Buffer;
  /** The client has no more. */
  atEnd(lastByte: number | undefined): void;
}

/**
 * Copies until the client has no more, or the result is called. A process that no longer reads does not stop the client: its
 * input is dropped, so that the client's channel can still be closed. Not pipeline(), which would destroy the channel
 * before the exit status is sent.
 */
export function copyInput(from: Readable, to: Writable, { filter, atEnd }: InputRelay): () => void {
  let lastByte: number | undefined;
  const onData = (received: Buffer) => {
    const chunk = filter === undefined ? received : filter(received);
    if (chunk.length === 0) return;
    lastByte = chunk.at(-1);
    if (to.writable && !to.write(chunk)) from.pause();
  };
  const goOn = () => void from.resume();
  const onEnd = () => {
    if (to.writable) atEnd(lastByte);
  };
  from.on('data', onData);
  from.on('end', onEnd);
  to.on('drain', goOn);
  to.on('close', goOn);
  return () => {
    from.off('data', onData);
    from.off('end', onEnd);
    to.off('drain', goOn);
    to.off('close', goOn);
  };
}
