import type { Writable } from 'node:stream';

/** A reader that is this far behind has stopped reading; a person's terminal must not hold the sandbox up. */
const MAX_PENDING_BYTES = 256 * 1024;

/** Lines for a person, on standard error. Lossy on purpose: the file has everything; what was left out is counted. */
export function createTerminalSink(stream: Writable): { write(line: string): void } {
  let skipped = 0;
  // A closed terminal is no reason to end.
  stream.on('error', () => {});
  return {
    write(line) {
      if (stream.destroyed || !stream.writable) return;
      if (stream.writableLength > MAX_PENDING_BYTES) {
        skipped += 1;
        return;
      }
      if (skipped > 0) stream.write(`(${skipped} events not shown)\n`);
      skipped = 0;
      stream.write(`${line}\n`);
    },
  };
}
