/** Listening on a pathname Unix socket that a dead run may have left behind. */
import { once } from 'node:events';
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { CastellanError, errnoOf } from '../errors.ts';
import { posix } from './posix.ts';

/**
 * A descriptor that listens at `path`, whose file has `mode`. A socket that nobody listens on any more is replaced.
 * @param step names who listens, in errors
 * @param name of the path, in errors
 * @throws CastellanError `address_in_use` when somebody serves the path, or it is something else than a socket; `filesystem_refused`
 */
export async function listenAtPath(path: string, mode: number, step: string, name = path): Promise<number> {
  try {
    return posix().listenUnix(path, mode);
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw listenError(name, step, error);
  }
  if (!(await isStale(path)))
    throw new CastellanError('address_in_use', `${name} is in use`, {
      step,
      object: name,
      errno: 'EADDRINUSE',
    });
  try {
    await unlink(path);
    return posix().listenUnix(path, mode);
  } catch (error) {
    throw listenError(name, step, error);
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

/** Why `address` cannot be listened on: `address_in_use`, or `filesystem_refused`. */
export function listenError(address: string, step: string, cause: unknown): CastellanError {
  const errno = errnoOf(cause);
  const code = errno === 'EADDRINUSE' ? 'address_in_use' : 'filesystem_refused';
  return new CastellanError(code, `${address} cannot be listened on`, {
    step,
    object: address,
    remedy: 'correct its directory, or choose another path',
    cause,
    ...(errno && { errno }),
  });
}
