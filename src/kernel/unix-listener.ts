/** Listening on a pathname Unix socket that a dead run may have left behind. */
import { once } from 'node:events';
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { CastellanError, errnoOf } from '../errors.ts';
import { posix } from './posix.ts';

const SOCKET_MODE = 0o600;

/**
 * A descriptor that listens at `path` with mode 0600. A socket that nobody listens on any more is replaced.
 * @throws CastellanError `address_in_use` when somebody serves the path, or it is something else than a socket; `filesystem_refused`
 */
export async function listenAt(path: string, step: string): Promise<number> {
  try {
    return posix().listenUnix(path, SOCKET_MODE);
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw listenError(path, step, error);
  }
  if (!(await isStale(path)))
    throw new CastellanError('address_in_use', `${path} is in use`, {
      step,
      object: path,
      errno: 'EADDRINUSE',
    });
  try {
    await unlink(path);
    return posix().listenUnix(path, SOCKET_MODE);
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
    remedy: 'correct its directory, or choose another path',
    cause,
    ...(errno && { errno }),
  });
}
