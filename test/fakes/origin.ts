/**
 * The outside world of a test or demo: an HTTPS origin, an HTTP origin and a TCP server that speaks first, all on an
 * address that exists only in the namespace made for it. Prints one line of JSON when all listen; ends with its standard input.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
import { join } from 'node:path';

const ADDRESSES = ['10.77.0.1', 'fd77::1'];
const directory = process.argv[2] ?? '.';

function answer(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    response.setHeader('content-type', 'text/plain');
    // Tells that it has had a secret without telling the secret.
    if (request.url === '/digest')
      return void response.end(
        `${createHash('sha256')
          .update(request.headers.authorization ?? '')
          .digest('hex')}\n`,
      );
    response.end(`${request.method} ${request.headers.host} ${request.url} ${body.length}\n`);
  });
}

function listen(server: Server, port: number, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, () => resolve((server.address() as AddressInfo).port));
  });
}

const tls = {
  key: readFileSync(join(directory, 'origin.key')),
  cert: readFileSync(join(directory, 'origin.crt')),
};
for (const address of ADDRESSES) {
  await listen(createHttps(tls, answer), 8443, address);
  await listen(createHttp(answer), 8080, address);
  await listen(
    createTcp((socket) => {
      socket.on('error', () => {});
      socket.write('220 origin ready\n');
      socket.pipe(socket);
    }),
    2525,
    address,
  );
}
process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
