/**
 * Castellan's own standard output and error as readers of the main process: whoever collects them (a terminal, `docker
 * logs`, a journal) gets everything, and the process waits for a slow one. It does not wait for a dead one.
 */
import type { Writable } from 'node:stream';
import { followAtPace, type PacedFollower } from './pace.ts';
import type { RetainedOutput } from './retained-output.ts';

/** A collector that takes nothing for so long has stopped; one that is only slow takes a piece now and then. */
const STALL_MS = 10_000;

export interface OwnStreams {
  readonly stdout: Writable;
  readonly stderr: Writable;
}

export function followOwnOutput(
  output: RetainedOutput,
  streams: OwnStreams,
  stallMs: number = STALL_MS,
): PacedFollower {
  for (const stream of [streams.stdout, streams.stderr]) prepare(stream);
  const reader = {
    write: (to: keyof OwnStreams, bytes: Uint8Array) => written(streams[to], bytes),
    lost(bytes: number) {
      // Its own reader may be the one that stopped: nobody waits for this line.
      streams.stderr.write(`castellan: ${bytes} bytes of output are left out: nobody took them\n`);
    },
  };
  return followAtPace(output, reader, { patienceMs: stallMs, renews: true });
}

/** A reader that has gone says so at the write; Node would make terminals wait, and with them the whole supervisor. */
function prepare(stream: Writable): void {
  stream.on('error', () => {});
  const handle = (stream as { _handle?: { setBlocking?(blocking: boolean): number } })._handle;
  if ('isTTY' in stream && stream.isTTY === true) handle?.setBlocking?.(false);
}

function written(stream: Writable, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    // A stream that failed takes nothing more, and calls back at once.
    stream.write(bytes, () => resolve());
  });
}
