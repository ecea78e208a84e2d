/** One HTTP request to its origin and the response back. Both are written anew from what was parsed: no byte passes unread. */
import {
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { errnoOf } from '../../errors.ts';
import { refuseRequest } from '../accept/refusal.ts';
import type { EgressLimits } from '../limits.ts';
import type { Outcome } from '../stages.ts';
import { requestHeaders, responseHeaders, trailerPairs } from './headers.ts';

export interface ForwardOptions {
  readonly limits: EgressLimits;
  /** The Host field. */
  readonly host: string;
  readonly path: string;
  /** Where it has been read already. */
  readonly body?: Buffer | undefined;
}

/** Relays over `upstream`, which it closes in the end: no origin is asked twice on one connection. Never rejects. */
export function forward(
  request: IncomingMessage,
  response: ServerResponse,
  upstream: Socket,
  options: ForwardOptions,
): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const { limits } = options;
  let httpStatus: number | undefined;
  let settled = false;
  const settle = (result: Outcome['result'], detail?: string): void => {
    if (settled) return;
    settled = true;
    upstream.destroy();
    const status = httpStatus === undefined ? undefined : { httpStatus };
    resolve({
      result,
      bytesOut: upstream.bytesWritten,
      bytesIn: upstream.bytesRead,
      ...(detail !== undefined && { detail }),
      ...status,
    });
  };
  const fail = (status: 502 | 504, error: string, detail: string): void => {
    if (settled) return;
    httpStatus ??= status;
    settle('failed', detail);
    refuseRequest(request, response, limits.lingerMs, status, { error, detail });
  };
  if (upstream.destroyed) {
    fail(502, 'upstream_failed', 'closed before the request was sent');
    return promise;
  }
  const outgoing = openRequest(request, upstream, options);
  outgoing.on('error', (error) => fail(502, 'upstream_failed', errnoOf(error) ?? error.message));
  // An unasked 101 ends without an error.
  outgoing.once('close', () => httpStatus ?? fail(502, 'upstream_failed', 'closed without a response'));
  upstream.setTimeout(limits.requestIdleMs, () =>
    fail(504, 'upstream_timeout', `idle for ${limits.requestIdleMs} ms`),
  );
  response.once('close', () =>
    response.writableFinished ? settle('closed') : settle('failed', 'the client went away'),
  );
  passInterim(outgoing, request, response, limits, () =>
    fail(502, 'upstream_failed', 'too many interim responses'),
  );
  outgoing.once('response', (incoming) => {
    httpStatus = incoming.statusCode;
    try {
      sendResponse(incoming, request, response, (detail) => fail(502, 'upstream_failed', detail));
    } catch (error) {
      fail(502, 'upstream_failed', error instanceof Error ? error.message : 'the response cannot be relayed');
    }
  });
  if (options.body === undefined) sendBody(request, outgoing);
  else outgoing.end(options.body);
  return promise;
}

function openRequest(
  request: IncomingMessage,
  upstream: Socket,
  { host, path, limits, body }: ForwardOptions,
): ClientRequest {
  const chunked = body === undefined && request.headers['transfer-encoding'] !== undefined;
  const outgoing = httpRequest({
    createConnection: () => upstream,
    method: request.method ?? 'GET',
    path,
    headers: requestHeaders(request.rawHeaders, host, {
      chunked,
      buffered: body !== undefined,
      contentLength:
        body === undefined || body.length === 0 ? contentLength(request, chunked) : String(body.length),
    }),
    maxHeaderSize: limits.responseHeadBytes,
    insecureHTTPParser: false,
  });
  outgoing.maxHeadersCount = 0;
  outgoing.flushHeaders();
  return outgoing;
}

/** Methods with a meaning for a body tell a length even when it is nothing (RFC 9110 §8.6). */
function contentLength(request: IncomingMessage, chunked: boolean): string | undefined {
  const length = request.headers['content-length'];
  if (length !== undefined || chunked) return length;
  return ['POST', 'PUT', 'PATCH'].includes(request.method ?? '') ? '0' : undefined;
}

function sendBody(request: IncomingMessage, outgoing: ClientRequest): void {
  request.pipe(outgoing, { end: false });
  request.once('end', () => {
    if (outgoing.destroyed) return;
    const trailers = trailerPairs(request.rawTrailers);
    if (trailers.length > 0) outgoing.addTrailers(trailers);
    outgoing.end();
  });
}

/** 100 only to clients that wait for it; of the others 103 is the one that means something. */
function passInterim(
  outgoing: ClientRequest,
  request: IncomingMessage,
  response: ServerResponse,
  limits: EgressLimits,
  tooMany: () => void,
): void {
  let count = 0;
  outgoing.on('information', ({ statusCode, headers }) => {
    count += 1;
    if (count > limits.interimResponses) return tooMany();
    if (request.httpVersion !== '1.1' || response.headersSent || response.destroyed) return;
    if (statusCode === 100 && request.headers.expect !== undefined) response.writeContinue();
    if (statusCode === 102) response.writeProcessing();
    if (statusCode === 103 && headers['link'] !== undefined)
      response.writeEarlyHints({ link: headers['link'] });
  });
}

function sendResponse(
  incoming: IncomingMessage,
  request: IncomingMessage,
  response: ServerResponse,
  fail: (detail: string) => void,
): void {
  const chunked = incoming.headers['transfer-encoding'] !== undefined;
  const headers = responseHeaders(incoming.rawHeaders, {
    chunked,
    contentLength: incoming.headers['content-length'],
  });
  // The origin has answered without reading everything: what is still to come has no place to go.
  if (!request.complete) headers.push('Connection', 'close');
  response.sendDate = false;
  response.writeHead(incoming.statusCode ?? 502, incoming.statusMessage ?? '', headers);
  response.flushHeaders();
  incoming.pipe(response, { end: false });
  incoming.once('error', (error) => fail(errnoOf(error) ?? error.message));
  incoming.once('end', () => {
    const trailers = trailerPairs(incoming.rawTrailers);
    if (trailers.length > 0) response.addTrailers(trailers);
    response.end();
  });
}
