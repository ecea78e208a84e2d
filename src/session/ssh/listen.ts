import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { listenAt } from '../../kernel/unix-listener.ts';

/**
 * Listens on a pathname Unix socket of mode 0600. A socket that a dead run left is replaced.
 * @throws CastellanError `address_in_use` when somebody serves the path, or it is something else than a socket
 */
export async function listenOnSocket(path: string): Promise<Server> {
  return listenOnDescriptor(await listenAt(path, 'ssh'));
}

/** The same on a socket that listens already; the server owns it from here on. */
export async function listenOnDescriptor(fd: number): Promise<Server> {
  const server = createServer({ pauseOnConnect: true });
  server.listen({ fd });
  await once(server, 'listening');
  return server;
}
