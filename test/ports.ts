import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * tcpmux: nobody listens there on loopback. A port that a test has just closed may be another test's listener a moment later.
 */
export const CLOSED_PORT = 1;

/** Below the ports that the kernel gives out by itself (ip_local_port_range), so that no other test's listener comes in between. */
const FREE_PORTS = { from: 20_000, to: 32_000 } as const;

/** A port of loopback for a program that cannot choose one itself. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FREE_PORTS.from, FREE_PORTS.to);
    const server = createServer().listen(port, '127.0.0.1');
    const outcome = await Promise.race([
      once(server, 'listening'),
      new Promise<undefined>((done) => server.once('error', () => done(undefined))),
    ]);
    if (outcome === undefined) continue;
    await new Promise((done) => server.close(done));
    return port;
  }
}
