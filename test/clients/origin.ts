/** The servers of this suite, all on one address of the test world. Prints one line when all listen; ends with its standard input. */
import { once } from 'node:events';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { ORIGIN_ADDRESS } from '../fakes/world.ts';
import { nameServer } from './name-server.ts';
import { httpServers, serveGrpc } from './origin-http.ts';
import { imapServer, smtpServer, sshServer, startPrograms } from './origin-raw.ts';
import { PORTS } from './places.ts';

const directory = process.argv[2] ?? '.';

async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, ORIGIN_ADDRESS);
  await once(server, 'listening');
}

const names = nameServer();
names.bind(53, '127.0.0.53');
await once(names, 'listening');
const { https, http } = httpServers(directory);
await listen(https, PORTS.https);
await listen(http, PORTS.http);
await listen(sshServer(join(directory, 'ssh_host_key')), PORTS.ssh);
await listen(smtpServer(), PORTS.smtp);
await listen(imapServer(), PORTS.imap);
await serveGrpc(directory, `${ORIGIN_ADDRESS}:${PORTS.grpc}`);
const end = await startPrograms(directory);
process.stdin
  .on('end', async () => {
    await end();
    process.exit(0);
  })
  .resume();
process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
