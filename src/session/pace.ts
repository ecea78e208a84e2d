/** How long a process waits for who reads its output: so that nobody loses any who only needs a moment, and nobody can stop it. */
import type { Follower, OutputReader, RetainedOutput } from './retained-output.ts';

/** The process is read no further while a reader is so far behind: half of what there is to catch up with. */
export const MAX_BEHIND_BYTES = 2 * 1024 * 1024;

export interface Patience {
  readonly patienceMs: number;
  /** Every piece that the reader takes buys it the whole time again. */
  readonly renews: boolean;
  /** It was not fast enough; from here on nobody waits for it until it takes something. */
  onLate?(follower: Follower): void;
}

export interface PacedFollower {
  readonly follower: Follower;
  /** Resolves when the process may be read on. */
  room(): Promise<void>;
  /** Resolves when the reader has all it is going to take: with whether that was all there is. */
  drained(): Promise<boolean>;
}

/** Replays and follows as `output.follow` does, and can be waited for. */
export function followAtPace(
  output: RetainedOutput,
  reader: OutputReader,
  { patienceMs, renews, onLate }: Patience,
): PacedFollower {
  const waiters: (() => void)[] = [];
  let timer: NodeJS.Timeout | undefined;
  let late = false;
  let over = false;
  const letOn = () => {
    clearTimeout(timer);
    timer = undefined;
    for (const resolve of waiters.splice(0)) resolve();
  };
  const wait = (): Promise<void> =>
    new Promise((resolve) => {
      waiters.push(resolve);
      timer ??= setTimeout(() => {
        late = true;
        onLate?.(follower);
        letOn();
      }, patienceMs);
    });
  const follower: Follower = output.follow({
    ...(reader.lost && { lost: reader.lost }),
    async write(to, bytes) {
      await reader.write(to, bytes);
      late = false;
      if (renews) timer?.refresh();
      if (follower.behind() <= MAX_BEHIND_BYTES / 2) letOn();
    },
  });
  void follower.done.then(() => {
    over = true;
    letOn();
  });
  return {
    follower,
    async room() {
      if (!over && !late && follower.behind() > MAX_BEHIND_BYTES) await wait();
    },
    async drained() {
      while (!over && !late) await wait();
      return over;
    },
  };
}
