/**
 * What people attach to: the retained output of the main process and its one input. The process goes on whatever becomes
 * of them.
 */
import type { Readable, Writable } from 'node:stream';
import { type ExitStatus, type RunningProcess, type TerminalSize, within } from '../launch/process.ts';
import type { OutputName } from './history.ts';
import { createLeaseOffice } from './input-lease.ts';
import { readOutput } from './last-output.ts';
import { followOwnOutput, type OwnStreams } from './own-output.ts';
import { followAtPace, type PacedFollower } from './pace.ts';
import { createRetainedOutput, type OutputReader } from './retained-output.ts';

/** People and a recorder or two; each costs what its connection buffers. */
export const MAX_ATTACHED = 32;
/** For who is attached to read the last bytes and the exit status: a client that stopped must not keep the sandbox from ending. */
const FAREWELL_MS = 5000;
/**
 * A client on this machine takes hundreds of MiB in this time. One that does not take the MiB or two that it is behind is on a
 * slow line, or stopped, and must not make the process as slow.
 */
const CATCH_UP_MS = 1000;

export type AttachmentEnd =
  | { readonly kind: 'exited'; readonly status: ExitStatus }
  /** It fell too far behind. */
  | { readonly kind: 'lagged' };

export interface Attachment extends Disposable {
  /** Of the process; undefined where another has it, or none was asked for. */
  readonly input: Writable | undefined;
  /** What comes in are keys: the process is on a terminal. */
  readonly isTerminal: boolean;
  /** All output was taken and the process has ended, or the attachment is over before that. */
  readonly ended: Promise<AttachmentEnd>;
  /** Both are the right of who has the input; nothing without it. */
  resize(size: TerminalSize): void;
  signal(name: NodeJS.Signals): void;
  releaseInput(): void;
}

export interface AttachWish {
  readonly input: boolean;
  readonly reader: OutputReader;
}

export interface MainConsole {
  /** Why nobody can attach now; undefined when one can. */
  refusal(): string | undefined;
  /** Only where refusal() gives none. */
  attach(wish: AttachWish): Attachment;
  /** Starts reading the process; resolves with its end, when castellan's own streams have all its output. */
  hold(process: RunningProcess, own: OwnStreams): Promise<ExitStatus>;
}

export function createMainConsole(): MainConsole {
  const output = createRetainedOutput();
  const lease = createLeaseOffice();
  let held: RunningProcess | undefined;
  const attached = new Map<PacedFollower, Promise<void>>();
  return {
    refusal() {
      if (held === undefined) return 'the main process has not started yet';
      return attached.size >= MAX_ATTACHED ? `${MAX_ATTACHED} are attached already` : undefined;
    },
    attach(wish) {
      if (held === undefined) throw new Error('there is nothing to attach to');
      const process = held;
      const { promise: left, resolve: leave } = Promise.withResolvers<void>();
      const own = wish.input ? lease.take() : undefined;
      const paced = followAtPace(output, wish.reader, {
        patienceMs: CATCH_UP_MS,
        renews: false,
        onLate: (late) => late.dismiss(),
      });
      const { follower } = paced;
      attached.set(paced, left);
      const isTerminal = process.io.kind === 'terminal';
      return {
        input: own === undefined ? undefined : inputOf(process),
        isTerminal,
        ended: follower.done.then(async (how): Promise<AttachmentEnd> => {
          if (how === 'lagged') return { kind: 'lagged' };
          return { kind: 'exited', status: await process.exited };
        }),
        resize(size) {
          if (own?.held() && process.io.kind === 'terminal') process.io.resize(size);
        },
        signal(name) {
          if (own?.held()) process.signal(name);
        },
        releaseInput: () => own?.release(),
        [Symbol.dispose]() {
          attached.delete(paced);
          own?.release();
          follower.stop();
          leave();
        },
      };
    },
    async hold(process, streams) {
      held = process;
      const own = followOwnOutput(output, streams);
      const reads = outputsOf(process).map(([from, to]) =>
        readOutput(from, process.exited, async (chunk) => {
          output.push(to, chunk);
          await Promise.all([own, ...attached.keys()].map((reader) => reader.room()));
        }),
      );
      await Promise.all(reads);
      output.end();
      await Promise.all([own.finished(), within(Promise.all(attached.values()), FAREWELL_MS)]);
      return await process.exited;
    },
  };
}

function outputsOf({ io }: RunningProcess): [Readable, OutputName][] {
  if (io.kind === 'terminal') return [[io.stream, 'stdout']];
  if (io.kind === 'pipes')
    return [
      [io.stdout, 'stdout'],
      [io.stderr, 'stderr'],
    ];
  throw new Error('this process has castellan’s own streams');
}

function inputOf({ io }: RunningProcess): Writable | undefined {
  if (io.kind === 'terminal') return io.stream;
  return io.kind === 'pipes' ? io.stdin : undefined;
}
