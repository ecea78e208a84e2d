import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { type SshAddress, showSshAddress } from '../../config/ssh-socket.ts';
import { listenAtPath, listenError } from '../../kernel/unix-listener.ts';

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
    throw listenError(showSshAddress(address), 'ssh', error);
  }
}

/**
 * Listens on a pathname Unix socket of mode 0600. A socket that a dead run left is replaced.
 * @throws CastellanError `address_in_use` when somebody serves the path, or it is something else than a socket
 */
export async function listenOnSocket(path: string): Promise<Server> {
  return listenOnDescriptor(await listenAtPath(path, SOCKET_MODE, 'ssh'));
}

/** The same on a socket that listens already; the server owns it from here on. */
export async function listenOnDescriptor(fd: number): Promise<Server> {
  const server = createServer({ pauseOnConnect: true });
  server.listen({ fd });
  await once(server, 'listening');
  return server;
}
