/**
 * HTTP/1 from clients, parsed by node:http alone, for the proxy and for redirected connections alike: every request of a
 * connection becomes an arrival of its own, one after the other, and CONNECT becomes a tunnel.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Report } from '../../audit/event.ts';
import type { CertificateAuthority } from '../intercept/authority.ts';
import { type OpeningMeans, openInspected } from '../intercept/open.ts';
import type { EgressLimits } from '../limits.ts';
import { Origins } from '../relay/origins.ts';
import type { Splicer } from '../relay/splice.ts';
import { relayTunnel } from '../relay/tunnel.ts';
import type { Arrival, Flow } from '../stages.ts';
import type { Authority } from './authority.ts';
import { createBodyBudget } from './body.ts';
import type { Client } from './entrance.ts';
import { http1Exchange } from './exchange-http1.ts';
import { connectTarget, type Dialled, requestTarget } from './http-target.ts';
import { createHttp2Port, type Http2Port } from './http2.ts';
import { type ReadOpening, readOpening } from './opening.ts';
import { breakOff, refuseSocket, refuseTls } from './refusal.ts';
import { type Carry, type Conversation, carryRequest, type Flaw, intentOf, recordFlaw } from './request.ts';
import { tunnelObjection } from './tunnel-name.ts';
import { type UpgradeMeans, webSocketArrival } from './upgrade.ts';

export interface HttpPort {
  /** Takes over a client that speaks HTTP/1 to the proxy, or, with `dialled`, to the origin it thinks it has reached. */
  serve(client: Client, flow: Flow, dialled?: Dialled): void;
  /** The same for HTTP/2, which is spoken only where a connection was opened here. */
  readonly serveHttp2: Http2Port['serve'];
  /** Closes idle connections; requests under way go on. */
  close(): void;
}

interface Exchange extends Conversation {
  /** Read, and not yet answered. */
  open: number;
  /** The requests before, in order. */
  turn: Promise<void>;
}

/** One parser for all HTTP. `carry` is the flow. */
export function createHttpPort(
  carry: Carry,
  limits: EgressLimits,
  report: Report,
  authority: CertificateAuthority | undefined,
  splicer: Splicer,
): HttpPort {
  const exchanges = new WeakMap<object, Exchange>();
  const server = strictServer(limits);
  const exchangeOf = (socket: Socket): Exchange => exchanges.get(socket) as Exchange;
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const exchange = exchangeOf(request.socket);
    exchange.open += 1;
    if (exchange.open > limits.pipelined) return void request.socket.destroy();
    response.once('close', () => {
      exchange.open -= 1;
    });
    exchange.turn = exchange.turn
      .then(() => answer(exchange, request, response, means))
      .catch((error: unknown) => {
        report({ kind: 'internal-error', where: 'egress/http', message: String(error) });
        request.socket.destroy();
      });
  };
  server.on('request', onRequest);
  server.on('checkContinue', onRequest);
  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) =>
    openTunnel(exchangeOf(socket), request, head, means),
  );
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const exchange = exchangeOf(socket);
    if (exchange.open > 0) return turnAway(exchange, request, OVERTAKING, means);
    const found = webSocketArrival(exchange, { request, socket, head }, means);
    if ('error' in found) turnAway(exchange, request, found, means);
    else void carry(found);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const exchange = exchanges.get(socket);
    if (exchange === undefined || !socket.writable || error.code === 'ECONNRESET') socket.destroy();
    else turnAway(exchange, undefined, clientFlaw(error), means);
  });
  const requestMeans = { carry, limits, report, budget: createBodyBudget(limits.bodyBytes) };
  const http2 = createHttp2Port(requestMeans);
  const http: HttpPort = {
    serve(client, flow, dialled) {
      exchanges.set(client.socket, converse(client, flow, dialled, limits));
      server.emit('connection', client.socket);
    },
    serveHttp2: http2.serve,
    close() {
      server.close(() => {});
      http2.close();
    },
  };
  const means: Means = { ...requestMeans, authority, http, splicer, webSockets: new Set() };
  return http;
}

function converse(client: Client, flow: Flow, dialled: Dialled | undefined, limits: EgressLimits): Exchange {
  const onLost = (): void => {
    // A client of the proxy itself has more than one origin.
    if (dialled !== undefined && exchange.open === 0) client.socket.destroySoon();
  };
  const origins = new Origins({ limits, isHttp2: false, onLost });
  client.signal.addEventListener('abort', () => origins.close(), { once: true });
  const turn = Promise.resolve();
  const exchange: Exchange = { client, flow, dialled, origins, requests: 0, open: 0, turn, over: false };
  return exchange;
}

/** Never listens: sockets come from the entrance. Its timers start with the event that listening would have brought. */
function strictServer(limits: EgressLimits): Server {
  const server = createServer({
    insecureHTTPParser: false,
    // Asked for by requestTarget, which answers in JSON.
    requireHostHeader: false,
    maxHeaderSize: limits.headBytes,
    headersTimeout: limits.headMs,
    // A body may take as long as it moves: the idle limit ends one that does not.
    requestTimeout: 0,
    connectionsCheckingInterval: limits.headCheckMs,
    keepAliveTimeout: limits.keepAliveMs,
    // h2c and other offers are left unanswered, as RFC 9110 §7.8 allows; clients then go on in HTTP/1.1.
    shouldUpgradeCallback: ({ headers }) => /^websocket$/i.test(headers.upgrade ?? ''),
  });
  server.maxHeadersCount = 0;
  // Later than the limit on the origin's side, which has an answer.
  server.timeout = limits.requestIdleMs + limits.headMs;
  server.emit('listening');
  return server;
}

type Means = OpeningMeans & UpgradeMeans & { readonly splicer: Splicer };

async function answer(
  exchange: Exchange,
  request: IncomingMessage,
  response: ServerResponse,
  means: Means,
): Promise<void> {
  if (exchange.over || response.destroyed || exchange.client.signal.aborted) return;
  const sent = http1Exchange(request, response, means.limits.lingerMs);
  await carryRequest(exchange, sent, requestTarget(request, exchange.dialled), means);
}

function openTunnel(exchange: Exchange, request: IncomingMessage, head: Buffer, means: Means): void {
  const target = connectTarget(request, exchange.dialled);
  if (!target.ok || exchange.open > 0) {
    turnAway(exchange, request, target.ok ? OVERTAKING : target, means);
    return;
  }
  if (head.length > 0) exchange.client.socket.unshift(head);
  void means.carry(connectArrival(exchange, target.authority, means));
}

const OVERTAKING = flaw(400, 'malformed_request', 'it came before the request in front of it was answered');

const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';

function connectArrival(exchange: Exchange, authority: Authority, means: Means): Arrival {
  const { client, flow } = exchange;
  const { socket, signal } = client;
  const { limits, splicer } = means;
  return {
    intent: intentOf(exchange, 'connect', authority),
    objection: undefined,
    signal,
    refuse: (status, body) => refuseSocket(socket, limits.lingerMs, status, body),
    revoke: () => breakOff(socket),
    async relay(upstream, { verdict }) {
      socket.write(ESTABLISHED);
      const object = tunnelObjection(authority.host, verdict);
      const judge = ({ opening }: ReadOpening) => object(opening) ?? 'pass';
      const outcome = await relayTunnel(socket, upstream.socket, {
        limits,
        splicer,
        opening: undefined,
        judge,
        judgeHello: object,
      });
      if (outcome.result === 'denied') refuseTls(socket, limits.lingerMs);
      return outcome;
    },
    async open() {
      socket.write(ESTABLISHED);
      const read = await readOpening(socket, limits, limits.handshakeMs);
      return openInspected(
        { client, flow, host: authority.host, port: authority.port, adapter: 'connect' },
        read,
        means,
      );
    },
  };
}

/** For requests on whose socket no parser is at work any more; an answer is possible only where no other is owed. */
function turnAway(
  exchange: Exchange,
  request: IncomingMessage | undefined,
  found: Flaw,
  { limits, report }: Means,
): void {
  const { socket } = exchange.client;
  const line = request && { method: request.method ?? '', target: request.url ?? '' };
  recordFlaw(exchange, line, found, report);
  if (exchange.open > 0) socket.destroy();
  else refuseSocket(socket, limits.lingerMs, found.status, { error: found.error, detail: found.detail });
}

function clientFlaw({ code = 'unknown' }: NodeJS.ErrnoException): Flaw {
  if (code === 'HPE_HEADER_OVERFLOW')
    return flaw(431, 'request_head_too_large', 'the request head is too large');
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return flaw(408, 'request_timeout', 'the request head did not come in time');
  return flaw(400, 'malformed_request', `the request is not valid HTTP/1.1 (${code})`);
}

function flaw(status: number, error: string, detail: string): Flaw {
  return { ok: false, status, error, detail };
}
