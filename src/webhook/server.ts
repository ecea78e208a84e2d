/**
 * HTTPS as the API server speaks it with a webhook: POST of one document, answered with one. Whoever can reach the port is served, unless
 * clients have to show a certificate; so all that a client can hold is bounded, and for each address once more.
 */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type ServerOptions } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { ListenAddress } from '../config/listen-address.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { type Budget, openBudget } from './budget.ts';
import type { Credentials } from './certificate.ts';

export interface ReviewServer extends AsyncDisposable {
  readonly address: AddressInfo;
  /** Connections from now on are served with these. */
  replace(credentials: Credentials): void;
  /** Takes no new connection, lets what is under way be answered, and gives up on it after `ms`. */
  drain(ms: number): Promise<void>;
}

export interface ReviewServerOptions {
  readonly listen: ListenAddress;
  readonly credentials: Credentials;
  /** Path by path, what answers a body. */
  readonly paths: ReadonlyMap<string, (body: string) => Promise<Reply>>;
  readonly tell: (line: string) => void;
}

export type Reply =
  | { readonly kind: 'answer'; readonly json: string }
  | { readonly kind: 'malformed'; readonly problem: string };

/** An update has the object twice, and etcd takes objects of 1.5 MiB; the API server itself takes requests of 3 MiB. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024;
/** What bodies that are arriving or being judged may hold; a usual one has 20 KiB, and takes some ten times its size while it is judged. */
const BODIES_BYTES = 16 * 1024 * 1024;
const BODIES_SHARE_BYTES = BODIES_BYTES / 2;
/** An API server opens a connection for each review under way. */
const MAX_CONNECTIONS = 512;
const CONNECTIONS_SHARE = MAX_CONNECTIONS / 2;
/** The API server sends what it has in memory: a body that takes longer comes from somebody else. */
const REQUEST_MS = 5000;
const HANDSHAKE_MS = 5000;
const HEADER_BYTES = 16 * 1024;
/** Clients give up idle connections after 90 s (client-go); were we first, a review could meet a closed one. */
const IDLE_MS = 120_000;

/** @throws CastellanError `address_in_use`, `usage` where it cannot listen */
export async function openReviewServer({
  listen,
  credentials,
  paths,
  tell,
}: ReviewServerOptions): Promise<ReviewServer> {
  const bodies = openBudget(BODIES_BYTES, BODIES_SHARE_BYTES);
  const connections = openBudget(MAX_CONNECTIONS, CONNECTIONS_SHARE);
  const sockets = new Set<Socket>();
  let draining = false;
  const desk: Desk = { paths, tell, bodies, isDraining: () => draining };
  const server = createServer(
    {
      ...tlsOptions(credentials),
      handshakeTimeout: HANDSHAKE_MS,
      maxHeaderSize: HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: IDLE_MS,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => void handle(request, response, desk),
  );
  server.on('connection', (socket: Socket) => {
    const client = socket.remoteAddress ?? '';
    socket.on('error', () => {});
    if (!connections.take(client, 1)) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once('close', () => {
      sockets.delete(socket);
      connections.give(client, 1);
    });
  });
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  server.listen({ host: listen.host, port: listen.port });
  await once(server, 'listening').catch((error: unknown) => {
    const errno = errnoOf(error);
    const object = `${listen.host}:${listen.port}`;
    throw new CastellanError(
      errno === 'EADDRINUSE' ? 'address_in_use' : 'usage',
      `${object} takes no server`,
      {
        step: 'webhook',
        object,
        ...(errno && { errno }),
      },
    );
  });
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    address: server.address() as AddressInfo,
    replace: (next) => server.setSecureContext(tlsOptions(next)),
    async drain(ms) {
      draining = true;
      const closed = new Promise<void>((done) => server.close(() => done()));
      const timer = setTimeout(cut, ms);
      await closed;
      clearTimeout(timer);
    },
    async [Symbol.asyncDispose]() {
      cut();
      if (server.listening) await new Promise<void>((done) => server.close(() => done()));
    },
  };
}

function tlsOptions({ cert, key, ca }: Credentials): ServerOptions {
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    ...(ca !== undefined && { ca, requestCert: true, rejectUnauthorized: true }),
  };
}

interface Desk extends Pick<ReviewServerOptions, 'paths' | 'tell'> {
  readonly bodies: Budget;
  /** Whether the connection is to go with the answer. */
  isDraining(): boolean;
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  { paths, bodies, tell, isDraining }: Desk,
): Promise<void> {
  const review = paths.get(request.url?.split('?', 1)[0] ?? '');
  const refusal = refusalOf(request, review !== undefined);
  if (refusal !== undefined || review === undefined) return refuse(response, refusal ?? NOT_FOUND);
  const client = request.socket.remoteAddress ?? '';
  let held = 0;
  const hold = (bytes: number): boolean => {
    const had = bodies.take(client, bytes);
    if (had) held += bytes;
    return had;
  };
  try {
    const body = await bodyOf(request, hold);
    if (typeof body !== 'string') return refuse(response, body);
    const reply = await review(body);
    if (reply.kind === 'malformed') return refuse(response, { status: 400, problem: reply.problem });
    if (isDraining()) response.setHeader('Connection', 'close');
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(reply.json);
  } catch (error) {
    // The API server refuses what it has no answer for.
    if (request.errored) return;
    tell(`a review failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    if (!response.headersSent) refuse(response, { status: 500, problem: 'castellan failed; see its log' });
  } finally {
    bodies.give(client, held);
  }
}

interface Refusal {
  readonly status: number;
  readonly problem: string;
}

const NOT_FOUND: Refusal = { status: 404, problem: 'there is nothing here' };
const TOO_LARGE: Refusal = { status: 413, problem: `a review has at most ${MAX_BODY_BYTES} bytes` };

function refusalOf({ method, headers }: IncomingMessage, isKnown: boolean): Refusal | undefined {
  if (!isKnown) return NOT_FOUND;
  if (method !== 'POST') return { status: 405, problem: 'reviews come by POST' };
  if (!/^application\/json(;|$)/i.test(headers['content-type'] ?? ''))
    return { status: 415, problem: 'a review is application/json' };
  return Number(headers['content-length'] ?? 0) > MAX_BODY_BYTES ? TOO_LARGE : undefined;
}

/** The connection goes with a refusal: the rest of a body is not read for its sake. */
function refuse(response: ServerResponse, { status, problem }: Refusal): void {
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    Connection: 'close',
    ...(status === 429 && { 'Retry-After': '1' }),
    ...(status === 405 && { Allow: 'POST' }),
  });
  response.end(`${problem}\n`);
}

async function bodyOf(request: IncomingMessage, hold: (bytes: number) => boolean): Promise<string | Refusal> {
  const chunks: Buffer[] = [];
  let length = 0;
  // Not destroyed with the loop: a refusal is still to be sent over its socket.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) return TOO_LARGE;
    if (!hold(chunk.length)) return { status: 429, problem: 'too much is under way' };
    chunks.push(chunk);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    return { status: 400, problem: 'the body is not UTF-8' };
  }
}
