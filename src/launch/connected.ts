import { posix } from '../kernel/posix.ts';

/** Loopback answers at once; what takes longer has a full queue, and is not going to take the connection for a person who waits. */
const CONNECT_DEADLINE_MS = 5000;

/**
 * Resolves with the descriptor once it is connected; closes it otherwise.
 * @throws Error with `code`, and `connect` as its `syscall`: what the target answered, ETIMEDOUT
 */
export async function connected(descriptor: number, signal: AbortSignal | undefined): Promise<number> {
  try {
    if (!posix().connected(descriptor)) await untilWritable(descriptor, signal);
    signal?.throwIfAborted();
    if (!posix().connected(descriptor)) throw connectError('ETIMEDOUT');
    return descriptor;
  } catch (error) {
    posix().close(descriptor);
    throw error;
  }
}

async function untilWritable(descriptor: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = posix().watchWritable(descriptor, resolve);
  const timer = setTimeout(resolve, CONNECT_DEADLINE_MS);
  const leave = () => resolve();
  signal?.addEventListener('abort', leave);
  if (signal?.aborted) resolve();
  await promise;
  signal?.removeEventListener('abort', leave);
  clearTimeout(timer);
  stop();
}

function connectError(code: string): Error {
  return Object.assign(new Error(code), { code, syscall: 'connect' });
}

/** Whether it is one that connected() throws. */
export function isConnectError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'connect';
}
