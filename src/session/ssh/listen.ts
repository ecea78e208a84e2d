import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { listenAtPath } from '../../kernel/unix-listener.ts';

const SOCKET_MODE = 0o600;

/**
 * Listens on a pathname Unix socket of mode 0600. A socket that a dead run left is replaced.
 * @throws CastellanError `address_in_use` when somebody serves the path, or it is something else than a socket
 */
export async function listenOnSocket(path: string): Promise<Server> {
  const server = createServer({ pauseOnConnect: true });
  server.listen({ fd: await listenAtPath(path, SOCKET_MODE, 'ssh') });
  await once(server, 'listening');
  return server;
}
