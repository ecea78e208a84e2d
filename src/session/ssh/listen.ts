import { once } from 'node:events';
import { lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { type SshAddress, showSshAddress } from '../../config/ssh-socket.ts';
import { CastellanError, errnoOf } from '../../errors.ts';
import { posix } from '../../kernel/posix.ts';

const SOCKET_MODE = 0o600;
/** As native/posix/unix_socket.c: a longer queue would only serve a flood. */
const BACKLOG = 64;

/**
 * Listens on an address: at a path as below; an abstract name has no mode, and who connects is judged by its credentials alone.
 * @throws CastellanError `address_in_use`, `filesystem_refused`
 */
export async function listenOnAddress(address: SshAddress): Promise<Server> {
  if (address.kind === 'path') return listenOnSocket(address.path);
  const server = createServer({ pauseOnConnect: true });
  try {
    server.listen({ path: `\0${address.name}`, backlog: BACKLOG });
    await once(server, 'listening');
    return server;
  } catch (error) {
    throw listenError(showSshAddress(address), error);
  }
}

/**
 * Listens on a pathname Unix socket of mode 0600. A socket that a dead run left is replaced.
 * @throws CastellanError `address_in_use` when somebody serves the path, or it is something else than a socket
 */
export async function listenOnSocket(path: string): Promise<Server> {
  const server = createServer({ pauseOnConnect: true });
  server.listen({ fd: await bindSocket(path) });
  await once(server, 'listening');
  return server;
}

async function bindSocket(path: string): Promise<number> {
  try {
    return posix().listenUnix(path, SOCKET_MODE);
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw listenError(path, error);
  }
  if (!(await isStale(path)))
    throw new CastellanError('address_in_use', `${path} is in use`, {
      step: 'ssh',
      object: path,
      errno: 'EADDRINUSE',
    });
  await unlink(path);
  try {
    return posix().listenUnix(path, SOCKET_MODE);
  } catch (error) {
    throw listenError(path, error);
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

function listenError(path: string, cause: unknown): CastellanError {
  const errno = errnoOf(cause);
  const code = errno === 'EADDRINUSE' ? 'address_in_use' : 'filesystem_refused';
  return new CastellanError(code, `${path} cannot be listened on`, {
    step: 'ssh',
    object: path,
    cause,
    ...(errno && { errno }),
  });
}
