/** Small Python programs as peers of the addon: they reach every system call, and Debian has them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** The next line of its standard output; rejects with its standard error when it ends before. */
  line(): Promise<string>;
  /** A line to its standard input. */
  say(line: string): void;
  /** Closes its standard input and waits for its end. */
  end(): Promise<void>;
}

/** Starts a Python script; `descriptors` become its 3, 4 and so on. */
export function startPython(
  script: string,
  args: readonly string[] = [],
  descriptors: readonly number[] = [],
): Program {
  const stdio = ['pipe', 'pipe', 'pipe', ...descriptors] as const;
  return wrapProgram(spawn('/usr/bin/python3', ['-c', script, ...args], { stdio: [...stdio] }));
}

/** A child with three pipes; disposal kills it. */
export function wrapProgram(child: ChildProcess): Program {
  const { stdin, stdout, stderr, pid } = child;
  if (stdin === null || stdout === null || stderr === null || pid === undefined)
    throw new Error('it did not start');
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  let complaint = '';
  stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  // A program that has ended takes no more lines; what it said tells why.
  stdin.on('error', () => undefined);
  const closed = once(child, 'close');
  return {
    pid,
    async line() {
      const next = await lines.next();
      if (!next.done) return next.value;
      await closed;
      throw new Error(`the program ended: ${complaint}`);
    },
    say: (line) => void stdin.write(`${line}\n`),
    async end() {
      stdin.end();
      await closed;
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await closed;
    },
  };
}
