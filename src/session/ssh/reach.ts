import type { Socket } from 'node:net';
import { CastellanError, errnoOf } from '../../errors.ts';
import { connectUnix } from '../../kernel/unix-client.ts';

const REACH_DEADLINE_MS = 10_000;

/**
 * A connection to a sandbox's socket, whose halves end by themselves.
 * @throws CastellanError `no_sandbox` when nobody listens there, or who does is too busy for too long
 */
export async function reachSandbox(path: string, signal?: AbortSignal): Promise<Socket> {
  try {
    return await connectUnix(path, REACH_DEADLINE_MS, signal);
  } catch (cause) {
    const errno = errnoOf(cause);
    throw new CastellanError('no_sandbox', `cannot connect to ${path}`, {
      step: 'ssh',
      object: path,
      cause,
      ...(errno && { errno }),
    });
  }
}
