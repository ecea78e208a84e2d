/**
 * The output of a process that many may read, each at its own pace. All read from one history, so that a slow reader costs
 * nobody memory, and one that falls behind it is let go of; the process and the other readers do not notice.
 */
import { createHistory, type OutputName } from './history.ts';

/** What somebody who comes late gets to see: several screens, or the end of a long log. */
export const REPLAY_BYTES = 1024 * 1024;
/** How far a reader may fall behind before it is let go of; a new one starts a replay's length behind. */
export const HISTORY_BYTES = 4 * REPLAY_BYTES;
/** Enough for one packet of a client's, little enough for a quick Ctrl-C to be seen. */
const PIECE_BYTES = 32 * 1024;

export interface OutputReader {
  /** Resolves when the reader took it; never rejects. */
  write(to: OutputName, bytes: Uint8Array): Promise<void>;
  /**
   * Output that the reader had not taken is gone. Undefined ends the reader then; otherwise it goes on with the oldest
   * that is left.
   */
  lost?(bytes: number): void;
}

export interface Follower {
  /** Bytes that wait for the reader. */
  behind(): number;
  /** `ended`: it has read all there was. `lagged`: it fell too far behind. `stopped`: it wanted no more. */
  readonly done: Promise<'ended' | 'lagged' | 'stopped'>;
  stop(): void;
  /** As if it had fallen too far behind. */
  dismiss(): void;
}

export interface RetainedOutput {
  push(to: OutputName, bytes: Uint8Array): void;
  /** There will be no more. */
  end(): void;
  /** Replays the newest output to the reader, then follows. */
  follow(reader: OutputReader): Follower;
}

export function createRetainedOutput(): RetainedOutput {
  const history = createHistory(HISTORY_BYTES);
  const looks = new Set<() => void>();
  let ended = false;
  const tell = () => {
    for (const look of looks) look();
  };
  return {
    push(to, bytes) {
      history.append(to, bytes);
      tell();
    },
    end() {
      ended = true;
      tell();
    },
    follow(reader) {
      let position = Math.max(history.oldest(), history.end() - REPLAY_BYTES);
      let writing = false;
      const { promise: done, resolve } = Promise.withResolvers<'ended' | 'lagged' | 'stopped'>();
      const finish = (how: 'ended' | 'lagged' | 'stopped') => {
        looks.delete(look);
        resolve(how);
      };
      /** Whether the reader may go on. */
      const catchUp = (): boolean => {
        const lost = history.oldest() - position;
        if (lost <= 0) return true;
        // A reader that is busy with older bytes is told once it has taken them.
        if (reader.lost === undefined) finish('lagged');
        else if (!writing) {
          position += lost;
          reader.lost(lost);
        }
        return reader.lost !== undefined;
      };
      const look = () => {
        if (!catchUp() || writing) return;
        const piece = history.read(position, PIECE_BYTES);
        if (piece === undefined) {
          if (ended) finish('ended');
          return;
        }
        writing = true;
        position = piece.next;
        void reader.write(piece.to, piece.bytes).then(() => {
          writing = false;
          if (looks.has(look)) look();
        });
      };
      looks.add(look);
      look();
      return {
        done,
        behind: () => history.end() - position,
        stop: () => finish('stopped'),
        dismiss: () => finish('lagged'),
      };
    },
  };
}
