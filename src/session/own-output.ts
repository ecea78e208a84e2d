/**
 * Castellan's own standard output and error as readers of the main process: whoever collects them (a terminal, `docker
 * logs`, a journal) gets everything, and the process waits for a slow one. It does not wait for a dead one.
 */
import type { Writable } from 'node:stream';
import type { Follower, RetainedOutput } from './retained-output.ts';

/** The process is read no further while its collector is so far behind. */
const MAX_BEHIND_BYTES = 1024 * 1024;
/** A collector that takes nothing for so long has stopped; one that is only slow takes a piece now and then. */
export const STALL_MS = 10_000;

export interface OwnOutput {
  /** Resolves when the process may be read on. */
  room(): Promise<void>;
  /** All is written that somebody takes. */
  finished(): Promise<void>;
}

export interface OwnStreams {
  readonly stdout: Writable;
  readonly stderr: Writable;
}

export function followOwnOutput(
  output: RetainedOutput,
  streams: OwnStreams,
  stallMs: number = STALL_MS,
): OwnOutput {
  const waiters: (() => void)[] = [];
  let stalled = false;
  let timer: NodeJS.Timeout | undefined;
  const letOn = () => {
    clearTimeout(timer);
    timer = undefined;
    for (const resolve of waiters.splice(0)) resolve();
  };
  const watch = (): Promise<void> =>
    new Promise((resolve) => {
      waiters.push(resolve);
      timer ??= setTimeout(() => {
        stalled = true;
        letOn();
      }, stallMs);
    });
  const progress = () => {
    stalled = false;
    timer?.refresh();
    if (follower.behind() <= MAX_BEHIND_BYTES / 2) letOn();
  };
  for (const stream of [streams.stdout, streams.stderr]) prepare(stream);
  const follower: Follower = output.follow({
    async write(to, bytes) {
      await written(streams[to], bytes);
      progress();
    },
    lost(bytes) {
      // Its own reader may be the one that stopped: nobody waits for this line.
      streams.stderr.write(`castellan: ${bytes} bytes of output are left out: nobody took them\n`);
    },
  });
  return {
    async room() {
      if (!stalled && follower.behind() > MAX_BEHIND_BYTES) await watch();
    },
    async finished() {
      // While it gets shorter there is somebody; watch() gives up on one that has stopped.
      const ended = follower.done.then(() => true);
      while (!stalled && !(await Promise.race([ended, watch().then(() => false)]))) {}
      follower.stop();
      letOn();
    },
  };
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
