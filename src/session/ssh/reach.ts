import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CastellanError, errnoOf } from '../../errors.ts';

/** While the socket's queue is full (connect(2): EAGAIN), as an agent can keep it that reaches the socket. */
const RETRY_MS = 20;
const REACH_DEADLINE_MS = 10_000;

/**
 * A connection to a sandbox's socket, whose halves end by themselves.
 * @throws CastellanError `no_sandbox` when nobody listens there, or who does is too busy for too long
 */
export async function reachSandbox(path: string, signal?: AbortSignal): Promise<Socket> {
  const until = performance.now() + REACH_DEADLINE_MS;
  for (;;) {
    const socket = connect({ path, allowHalfOpen: true, ...(signal && { signal }) });
    try {
      await once(socket, 'connect');
      return socket;
    } catch (cause) {
      const errno = errnoOf(cause);
      if (errno !== 'EAGAIN' || performance.now() >= until)
        throw new CastellanError('no_sandbox', `cannot connect to ${path}`, {
          step: 'ssh',
          object: path,
          cause,
          ...(errno && { errno }),
        });
    }
    await sleep(RETRY_MS);
  }
}
