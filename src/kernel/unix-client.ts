import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../errors.ts';

const RETRY_MS = 20;

/**
 * A connection to a Unix socket, whose halves end by themselves. While the socket's queue is full (connect(2): EAGAIN), as an agent can
 * keep it that reaches the socket, it is tried again until `deadlineMs` is over.
 * @throws the system's error
 */
export async function connectUnix(path: string, deadlineMs: number, signal?: AbortSignal): Promise<Socket> {
  const until = performance.now() + deadlineMs;
  for (;;) {
    const socket = connect({ path, allowHalfOpen: true, ...(signal && { signal }) });
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN' || performance.now() >= until) throw error;
    }
    await sleep(RETRY_MS);
  }
}
