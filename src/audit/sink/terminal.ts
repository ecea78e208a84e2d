import type { Writable } from 'node:stream';

/** A reader that is this far behind has stopped reading; a person's terminal must not hold the sandbox up. */
const MAX_PENDING_BYTES = 256 * 1024;

export interface TerminalSink extends Disposable {
  write(line: string): void;
  /** Lines that were not shown. */
  readonly hidden: number;
}

/** Lines for a person, on standard error. Lossy on purpose: the file has everything; what was left out is counted. */
export function createTerminalSink(stream: Writable): TerminalSink {
  let hidden = 0;
  let told = 0;
  let broken = false;
  // A closed terminal is no reason to end. The stream is not ours: it keeps the listener, as late errors may come.
  stream.on('error', () => {
    broken = true;
  });
  const isStuck = () =>
    broken || stream.destroyed || !stream.writable || stream.writableLength > MAX_PENDING_BYTES;
  const tell = () => {
    if (hidden > told) stream.write(`(${hidden - told} events not shown here; the log has them)\n`);
    told = hidden;
  };
  return {
    get hidden() {
      return hidden;
    },
    write(line) {
      if (isStuck()) {
        hidden += 1;
        return;
      }
      tell();
      stream.write(`${line}\n`);
    },
    [Symbol.dispose]() {
      if (!isStuck()) tell();
    },
  };
}
