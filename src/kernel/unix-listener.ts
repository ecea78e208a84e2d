import { once } from 'node:events';
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { CastellanError, errnoOf } from '../errors.ts';
import { posix } from './posix.ts';

/**
 * A listening socket at a pathname, as a descriptor. A socket that a dead run left is replaced.
 * @param step names who listens, in errors
 * @throws CastellanError `address_in_use` when somebody serves the path, or it is something else than a socket
 */
export async function listenAtPath(path: string, mode: number, step: string): Promise<number> {
  try {
    return posix().listenUnix(path, mode);
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw listenError(path, step, error);
  }
  if (!(await isStale(path)))
    throw new CastellanError('address_in_use', `${path} is in use`, {
      step,
      object: path,
      errno: 'EADDRINUSE',
    });
  await unlink(path);
  try {
    return posix().listenUnix(path, mode);
  } catch (error) {
    throw listenError(path, step, error);
  }
}

/** Only a socket that nobody listens on any more may be removed. */
async function isStale(path: string): Promise<boolean> {
  if (!(await lstat(path)).isSocket()) return false;
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return false;
  } catch (error) {
    return errnoOf(error) === 'ECONNREFUSED';
  } finally {
    socket.destroy();
  }
}

function listenError(path: string, step: string, cause: unknown): CastellanError {
  const errno = errnoOf(cause);
  const code = errno === 'EADDRINUSE' ? 'address_in_use' : 'filesystem_refused';
  return new CastellanError(code, `${path} cannot be listened on`, {
    step,
    object: path,
    cause,
    ...(errno && { errno }),
  });
}
