/**
 * Castellan's own standard output and error as readers of the main process: whoever collects them (a terminal, `docker
 * logs`, a journal) gets everything, and the process waits for a slow one. It does not wait for a dead one.
 */
import type { Writable } from 'node:stream';
import { within } from '../launch/process.ts';
import { followAtPace } from './pace.ts';
import type { RetainedOutput } from './retained-output.ts';

/** A collector that takes nothing for so long has stopped; one that is only slow takes a piece now and then. */
const STALL_MS = 10_000;
/** For a line on standard error, which may be where nobody reads. */
const LAST_LINE_MS = 1000;

export interface OwnStreams {
  readonly stdout: Writable;
  readonly stderr: Writable;
}

export interface OwnOutput {
  /** Resolves when the process may be read on. */
  room(): Promise<void>;
  /** Resolves when all is written, or given up. */
  finished(): Promise<void>;
}

export function followOwnOutput(
  output: RetainedOutput,
  streams: OwnStreams,
  stallMs: number = STALL_MS,
): OwnOutput {
  const both = [streams.stdout, streams.stderr];
  for (const stream of both) prepare(stream);
  const reader = {
    write: (to: keyof OwnStreams, bytes: Uint8Array) => written(streams[to], bytes),
    lost(bytes: number) {
      // Its own reader may be the one that stopped: nobody waits for this line.
      streams.stderr.write(leftOut(bytes));
    },
  };
  const paced = followAtPace(output, reader, { patienceMs: stallMs, renews: true });
  return {
    room: paced.room,
    async finished() {
      if (await paced.drained()) return;
      const left = paced.follower.behind();
      paced.follower.stop();
      if (left > 0) await within(written(streams.stderr, leftOut(left)), LAST_LINE_MS);
      for (const stream of both) if (stream.writableLength > 0) abandon(stream);
    },
  };
}

function leftOut(bytes: number): Buffer {
  return Buffer.from(`castellan: ${bytes} bytes of output are left out: nobody took them\n`);
}

/** What these streams have of their own in Node, where they are no files. */
interface Handle {
  setBlocking?(blocking: boolean): number;
  close(): void;
}

function handleOf(stream: Writable): Handle | undefined {
  return (stream as { _handle?: Handle })._handle;
}

/** A write that nobody takes would keep castellan from ending; Node's own destroy() leaves standard streams open. */
function abandon(stream: Writable): void {
  handleOf(stream)?.close();
}

/** A reader that has gone says so at the write; Node would make terminals wait, and with them the whole supervisor. */
function prepare(stream: Writable): void {
  stream.on('error', () => {});
  if ('isTTY' in stream && stream.isTTY === true) handleOf(stream)?.setBlocking?.(false);
}

function written(stream: Writable, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    // A stream that failed takes nothing more, and calls back at once.
    stream.write(bytes, () => resolve());
  });
}
