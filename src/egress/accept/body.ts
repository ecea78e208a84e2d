import type { Readable } from 'node:stream';

/** Memory for bodies that are judged as a whole, shared by all requests. */
export interface BodyBudget {
  /** False where there is not so much left. */
  take(bytes: number): boolean;
  give(bytes: number): void;
  /** `onRoom` hears once when there may be more, in the order of asking; not after the disposal. */
  wait(onRoom: () => void): Disposable;
}

/** At most `total` bytes at once. */
export function createBodyBudget(total: number): BodyBudget {
  let left = total;
  const waiting = new Set<() => void>();
  return {
    take(bytes) {
      if (bytes > left) return false;
      left -= bytes;
      return true;
    },
    give(bytes) {
      left += bytes;
      if (bytes === 0) return;
      const woken = [...waiting];
      waiting.clear();
      for (const onRoom of woken) onRoom();
    },
    wait(onRoom) {
      waiting.add(onRoom);
      return { [Symbol.dispose]: () => void waiting.delete(onRoom) };
    },
  };
}

export interface WholeBodyOptions {
  readonly maxBytes: number;
  readonly ms: number;
  /** For a piece that finds no room. */
  readonly roomMs: number;
  readonly budget: BodyBudget;
  /** When what was read is no longer needed. */
  readonly over: (release: () => void) => void;
}

/**
 * The whole body; undefined when it is larger than it may be, is not there in time, finds no room, or its client is gone. A
 * body that waits for room is not read meanwhile. Never rejects.
 */
export function readWhole(
  request: Readable,
  { maxBytes, ms, roomMs, budget, over }: WholeBodyOptions,
): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const chunks: Buffer[] = [];
  let length = 0;
  let waiting: Disposable | undefined;
  let roomTimer: NodeJS.Timeout | undefined;
  const timer = setTimeout(() => finish(undefined), ms);
  over(() => {
    // Nobody is left to be judged: what comes to room later would never be given back.
    finish(undefined);
    budget.give(length);
    length = 0;
  });
  let held: Buffer | undefined;
  let ended = false;
  let isOver = false;
  const finish = (body: Buffer | undefined): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    clearTimeout(roomTimer);
    waiting?.[Symbol.dispose]();
    request.off('data', onData).off('end', onEnd).off('close', onClose);
    if (body === undefined) request.pause();
    resolve(body);
  };
  const keep = (chunk: Buffer): boolean => {
    if (!budget.take(chunk.length)) return false;
    length += chunk.length;
    chunks.push(chunk);
    return true;
  };
  const onData = (chunk: Buffer): void => {
    if (length + chunk.length > maxBytes) finish(undefined);
    else if (!keep(chunk)) waitForRoom(chunk);
  };
  const waitForRoom = (chunk: Buffer): void => {
    held = chunk;
    request.pause();
    roomTimer = setTimeout(() => finish(undefined), roomMs);
    const onRoom = (): void => {
      if (!keep(chunk)) waiting = budget.wait(onRoom);
      else {
        held = undefined;
        clearTimeout(roomTimer);
        if (ended) onEnd();
        else request.resume();
      }
    };
    waiting = budget.wait(onRoom);
  };
  // The end comes behind the last piece, even to a stream that is paused there.
  const onEnd = (): void => {
    ended = true;
    if (held === undefined) finish(Buffer.concat(chunks, length));
  };
  const onClose = (): void => {
    if (!ended) finish(undefined);
  };
  request.on('data', onData).on('end', onEnd).on('close', onClose);
  return promise;
}
