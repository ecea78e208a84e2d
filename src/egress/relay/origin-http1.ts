/** Requests to an origin in HTTP/1.1, one after the other on one connection. */
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { errnoOf } from '../../errors.ts';
import type { Framing, Origin, OriginEvents, OriginRequest, RequestHead } from '../exchange.ts';
import type { EgressLimits } from '../limits.ts';

export interface Http1OriginOptions {
  readonly limits: EgressLimits;
  /** Called each time the connection is free for another request. */
  readonly onIdle: () => void;
}

/** Owns the socket, and closes it unless it is free again when a request is over. */
export function createHttp1Origin(socket: Socket, { limits, onIdle }: Http1OriginOptions): Origin {
  let answered = 0;
  let idle = true;
  const agent = agentOver(socket, () => {
    idle = true;
    answered += 1;
    socket.setTimeout(limits.keepAliveMs);
    onIdle();
  });
  return {
    ask(head, events) {
      idle = false;
      const before = { bytesOut: socket.bytesWritten, bytesIn: socket.bytesRead };
      const outgoing = send(agent, head, limits);
      // What a kept connection does not answer at all was lost with it, and not done.
      const isStale = () => answered > 0 && socket.bytesRead === before.bytesIn;
      listen(outgoing, socket, limits, events, isStale);
      return {
        body: outgoing,
        end(trailers) {
          if (outgoing.destroyed) return;
          if (trailers.length > 0) outgoing.addTrailers(trailers);
          outgoing.end();
        },
        transferred: () => ({
          bytesOut: socket.bytesWritten - before.bytesOut,
          bytesIn: socket.bytesRead - before.bytesIn,
        }),
        close() {
          if (!idle) socket.destroy();
        },
      } satisfies OriginRequest;
    },
  };
}

/** node:http's own rules say when a connection can be used again, and end one on which an origin speaks unasked. */
function agentOver(socket: Socket, onIdle: () => void): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, maxFreeSockets: 1 });
  return Object.assign(agent, {
    createConnection: () => socket,
    keepSocketAlive() {
      onIdle();
      return true;
    },
  });
}

function send(
  agent: Agent,
  { method, authority, path, fields, framing }: RequestHead,
  limits: EgressLimits,
): ClientRequest {
  const outgoing = httpRequest({
    agent,
    method,
    path,
    headers: ['Host', authority, ...fields, ...framingFields(method, framing), 'Connection', 'keep-alive'],
    maxHeaderSize: limits.responseHeadBytes,
    insecureHTTPParser: false,
  });
  outgoing.maxHeadersCount = 0;
  // Not in the types: a body longer than it was said to be would begin another request.
  Object.assign(outgoing, { strictContentLength: true });
  outgoing.flushHeaders();
  return outgoing;
}

/** Always one that is explicit: without, node:http would frame an empty POST as chunked. */
function framingFields(method: string, framing: Framing): string[] {
  if (framing.kind === 'open') return ['Transfer-Encoding', 'chunked'];
  if (framing.kind === 'length') return ['Content-Length', framing.length];
  // Methods with a meaning for a body tell a length even when it is nothing (RFC 9110 §8.6).
  return ['POST', 'PUT', 'PATCH'].includes(method) ? ['Content-Length', '0'] : [];
}

function listen(
  outgoing: ClientRequest,
  socket: Socket,
  limits: EgressLimits,
  events: OriginEvents,
  isStale: () => boolean,
): void {
  let over = false;
  const fail = (status: 502 | 504, error: string, detail: string): void => {
    if (over) return;
    over = true;
    events.failed({ status, error, detail, isStale: isStale() });
  };
  const broken = (error: Error): void => fail(502, 'upstream_failed', errnoOf(error) ?? error.message);
  let answered = false;
  outgoing.on('error', broken);
  // An unasked 101 ends without an error.
  outgoing.once('close', () => {
    if (!answered) fail(502, 'upstream_failed', 'closed without a response');
  });
  outgoing.on('information', ({ statusCode, headers }) => {
    if (!over) events.interim(statusCode, headers['link']?.toString());
  });
  outgoing.once('response', (incoming) => {
    answered = true;
    if (over) return;
    incoming.once('error', broken);
    incoming.once('end', () => {
      over = true;
    });
    const head = {
      status: incoming.statusCode ?? 502,
      reason: incoming.statusMessage ?? '',
      fields: incoming.rawHeaders,
      framing: framingOf(incoming, 'open'),
    };
    events.response(head, incoming, () => incoming.rawTrailers);
  });
  limitHead(outgoing, socket, limits, () =>
    fail(504, 'upstream_timeout', `the response head did not end within ${limits.responseHeadMs} ms`),
  );
  const onIdle = (): void => fail(504, 'upstream_timeout', `idle for ${limits.requestIdleMs} ms`);
  socket.setTimeout(limits.requestIdleMs).on('timeout', onIdle);
  outgoing.once('close', () => socket.off('timeout', onIdle));
}

/** A head that comes byte by byte never idles. */
function limitHead(
  outgoing: ClientRequest,
  socket: Socket,
  { responseHeadMs }: EgressLimits,
  onLate: () => void,
): void {
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  const onData = (): void => {
    // Once more after it has been taken off, where the parser hears of the same piece first.
    if (!isOver) timer ??= setTimeout(onLate, responseHeadMs);
  };
  const end = (): void => {
    isOver = true;
    clearTimeout(timer);
    socket.off('data', onData);
  };
  socket.on('data', onData);
  outgoing.on('information', () => {
    clearTimeout(timer);
    timer = undefined;
  });
  outgoing.once('response', end).once('close', end);
}

/** As llhttp read it; `unsaid` is what stands for neither a length nor chunks. */
export function framingOf({ headers }: Pick<IncomingMessage, 'headers'>, unsaid: 'none' | 'open'): Framing {
  const length = headers['content-length'];
  if (headers['transfer-encoding'] !== undefined) return { kind: 'open' };
  return length === undefined ? { kind: unsaid } : { kind: 'length', length };
}
