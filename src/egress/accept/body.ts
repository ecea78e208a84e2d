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
  const share = createShare(budget, roomMs);
  let ended = false;
  let isSettled = false;
  const timer = setTimeout(() => finish(undefined), ms);
  const finish = (body: Buffer | undefined): void => {
    if (isSettled) return;
    isSettled = true;
    clearTimeout(timer);
    share.stopWaiting();
    request.off('data', onData).off('end', onEnd).off('close', onClose);
    if (body === undefined) request.pause();
    resolve(body);
  };
  const onData = (chunk: Buffer): void => {
    if (share.length + chunk.length > maxBytes) return void finish(undefined);
    const isKept = share.keep(chunk, (hasRoom) => {
      if (!hasRoom) finish(undefined);
      else if (ended) onEnd();
      else request.resume();
    });
    if (!isKept) request.pause();
  };
  // The end comes behind the last piece, even to a stream that is paused there.
  const onEnd = (): void => {
    ended = true;
    if (!share.isWaiting) finish(share.bytes());
  };
  const onClose = (): void => {
    if (!ended) finish(undefined);
  };
  over(() => {
    finish(undefined);
    share.giveBack();
  });
  request.on('data', onData).on('end', onEnd).on('close', onClose);
  return promise;
}

/** What one body has of the budget. */
interface Share {
  readonly length: number;
  readonly isWaiting: boolean;
  bytes(): Buffer;
  /** False where there is no room yet: `onRoom` then hears once whether some came in time. */
  keep(chunk: Buffer, onRoom: (hasRoom: boolean) => void): boolean;
  stopWaiting(): void;
  /** All of it. */
  giveBack(): void;
}

function createShare(budget: BodyBudget, roomMs: number): Share {
  const chunks: Buffer[] = [];
  let length = 0;
  let waiting: Disposable | undefined;
  let timer: NodeJS.Timeout | undefined;
  const take = (chunk: Buffer): boolean => {
    if (!budget.take(chunk.length)) return false;
    length += chunk.length;
    chunks.push(chunk);
    return true;
  };
  const stopWaiting = (): void => {
    clearTimeout(timer);
    waiting?.[Symbol.dispose]();
    waiting = undefined;
  };
  return {
    get length() {
      return length;
    },
    get isWaiting() {
      return waiting !== undefined;
    },
    bytes: () => Buffer.concat(chunks, length),
    keep(chunk, onRoom) {
      if (take(chunk)) return true;
      timer = setTimeout(() => {
        stopWaiting();
        onRoom(false);
      }, roomMs);
      const look = (): void => {
        if (!take(chunk)) {
          waiting = budget.wait(look);
          return;
        }
        stopWaiting();
        onRoom(true);
      };
      waiting = budget.wait(look);
      return false;
    },
    stopWaiting,
    giveBack() {
      budget.give(length);
      length = 0;
      chunks.length = 0;
    },
  };
}
