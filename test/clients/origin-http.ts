/** HTTP as origins of all kinds speak it: in both versions, in pieces, compressed, with trailers, as events, and as WebSockets. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Server as GrpcServer, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { WebSocketServer } from 'ws';
import { FORBIDDEN } from './places.ts';

type Request = Http2ServerRequest;
type Response = Http2ServerResponse;

const EVENTS = 3;
/** In one go: a browser prints the page once it is loaded. */
const PAGE = `<!doctype html><p id=x></p><script>
const request = new XMLHttpRequest();
request.open('GET', '/echo', false);
request.send();
document.getElementById('x').textContent = 'page ' + request.responseText;
</script>`;

/** Who waits for the next acknowledgement, by the word the client chose: an event follows only when the one before has arrived. */
const waiting = new Map<string, () => void>();

const ANSWERS: Readonly<Record<string, (request: Request, response: Response, url: URL) => void>> = {
  '/echo': withBody((request, response, body) => {
    const { length } = body;
    response.end(`${request.method} ${request.url} HTTP/${request.httpVersion} ${length} bytes\n`);
  }),
  '/digest': withBody((_, response, body) => {
    response.end(`${createHash('sha256').update(body).digest('hex')}\n`);
  }),
  '/gzip'(_, response) {
    response.setHeader('content-encoding', 'gzip');
    response.end(gzipSync('unpacked\n'));
  },
  '/pieces'(_, response) {
    response.write('one ');
    setImmediate(() => {
      response.write('two ');
      setImmediate(() => response.end('three\n'));
    });
  },
  '/trailers'(_, response) {
    response.setHeader('trailer', 'x-sum');
    response.write('summed\n');
    response.addTrailers({ 'x-sum': '42' });
    response.end();
  },
  '/events'(_, response, url) {
    response.setHeader('content-type', 'text/event-stream');
    const key = url.search;
    let sent = 0;
    const next = (): void => {
      sent += 1;
      response.write(`data: event ${sent}\n\n`);
      if (sent < EVENTS) waiting.set(key, next);
      else {
        waiting.delete(key);
        response.end();
      }
    };
    next();
  },
  '/arrived'(_, response, url) {
    waiting.get(url.search)?.();
    response.end('noted\n');
  },
  '/redirect'(_, response) {
    response.writeHead(302, { location: '/echo' }).end();
  },
  '/redirect-out'(_, response) {
    response.writeHead(302, { location: `https://${FORBIDDEN}/echo` }).end();
  },
  '/client-port'(request, response) {
    response.end(`${request.socket.remotePort}\n`);
  },
  '/page'(_, response) {
    response.setHeader('content-type', 'text/html');
    response.end(PAGE);
  },
};

function withBody(
  then: (request: Request, response: Response, body: Buffer) => void,
): (request: Request, response: Response) => void {
  return (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => then(request, response, Buffer.concat(chunks)));
  };
}

function answer(request: Request, response: Response): void {
  const url = new URL(request.url, 'https://origin');
  // Nobody listens there: a browser that believes it has to be refused at once, and come back.
  response.setHeader('alt-svc', 'h3=":443"; ma=3600');
  const given = ANSWERS[url.pathname];
  if (given !== undefined) given(request, response, url);
  else response.writeHead(404).end(`REACHED ${url.pathname}\n`);
}

/** TLS with both versions of HTTP, and HTTP/1 without TLS. */
export function httpServers(directory: string): { readonly https: Server; readonly http: Server } {
  const https = createSecureServer({ ...tlsOf(directory), allowHTTP1: true }, answer);
  const http = createServer((request, response) =>
    answer(request as unknown as Request, response as unknown as Response),
  );
  const sockets = new WebSocketServer({ noServer: true });
  for (const server of [https as unknown as typeof http, http])
    server.on('upgrade', (request, socket, head) =>
      sockets.handleUpgrade(request, socket, head, (client) =>
        client.on('message', (data, isBinary) => client.send(isBinary ? data : `heard ${data}`)),
      ),
    );
  return { https, http };
}

export async function serveGrpc(directory: string, address: string): Promise<void> {
  const same = (bytes: Buffer): Buffer => bytes;
  const shape = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  const server = new GrpcServer();
  server.addService(
    {
      talk: { path: '/demo.Echo/Talk', requestStream: true, responseStream: true, ...shape },
      forbidden: { path: '/forbidden/Talk', requestStream: true, responseStream: true, ...shape },
    },
    { talk: echo, forbidden: echo },
  );
  const { key, cert } = tlsOf(directory);
  const credentials = ServerCredentials.createSsl(null, [{ private_key: key, cert_chain: cert }]);
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(address, credentials, (error) => (error ? reject(error) : resolve())),
  );
}

function echo(call: ServerDuplexStream<Buffer, Buffer>): void {
  call.on('data', (chunk: Buffer) => call.write(Buffer.from(`heard ${chunk}`)));
  call.on('end', () => call.end());
}

function tlsOf(directory: string): { readonly key: Buffer; readonly cert: Buffer } {
  return {
    key: readFileSync(join(directory, 'origin.key')),
    cert: readFileSync(join(directory, 'origin.crt')),
  };
}
