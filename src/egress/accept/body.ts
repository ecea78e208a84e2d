import type { Readable } from 'node:stream';

/** Memory for bodies that are judged as a whole, shared by all requests. */
export interface BodyBudget {
  /** False where there is not so much left. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/** At most `total` bytes at once. */
export function createBodyBudget(total: number): BodyBudget {
  let left = total;
  return {
    take(bytes) {
      if (bytes > left) return false;
      left -= bytes;
      return true;
    },
    give(bytes) {
      left += bytes;
    },
  };
}

export interface WholeBodyOptions {
  readonly maxBytes: number;
  readonly ms: number;
  readonly budget: BodyBudget;
  /** When what was read is no longer needed. */
  readonly over: (release: () => void) => void;
}

/**
 * The whole body; undefined when it is larger than it may be, is not there in time, finds no room, or its client is gone. Never
 * rejects.
 */
export function readWhole(
  request: Readable,
  { maxBytes, ms, budget, over }: WholeBodyOptions,
): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => finish(undefined), ms);
  over(() => budget.give(length));
  const finish = (body: Buffer | undefined): void => {
    clearTimeout(timer);
    request.off('data', onData).off('end', onEnd).off('close', onClose);
    if (body === undefined) request.pause();
    resolve(body);
  };
  const onData = (chunk: Buffer): void => {
    if (length + chunk.length > maxBytes || !budget.take(chunk.length)) finish(undefined);
    else {
      length += chunk.length;
      chunks.push(chunk);
    }
  };
  const onEnd = (): void => finish(Buffer.concat(chunks, length));
  const onClose = (): void => finish(undefined);
  request.on('data', onData).on('end', onEnd).on('close', onClose);
  return promise;
}
