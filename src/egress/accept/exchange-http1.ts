import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ClientExchange } from '../exchange.ts';
import { framingOf } from '../relay/origin-http1.ts';
import { refuseRequest } from './refusal.ts';

/** A request as node:http gives it. */
export function http1Exchange(
  request: IncomingMessage,
  response: ServerResponse,
  lingerMs: number,
): ClientExchange {
  return {
    version: request.httpVersion === '1.0' ? '1.0' : '1.1',
    method: request.method ?? '',
    target: request.url ?? '',
    headers: request.headers,
    fields: request.rawHeaders,
    framing: framingOf(request, 'none'),
    body: request,
    trailers: () => request.rawTrailers,
    isComplete: () => request.complete,
    isGone: () => response.destroyed,
    hasBegun: () => response.headersSent,
    // 100 only to clients that wait for it; of the others 103 is the one that means something.
    interim(status, link) {
      if (request.httpVersion !== '1.1') return;
      if (status === 100 && request.headers.expect !== undefined) response.writeContinue();
      if (status === 102) response.writeProcessing();
      if (status === 103 && link !== undefined) response.writeEarlyHints({ link });
    },
    respond({ status, reason, fields, framing }) {
      const headers = [...fields, ...(framing.kind === 'length' ? ['Content-Length', framing.length] : [])];
      // The origin has answered without reading everything: what is still to come has no place to go.
      if (!request.complete) headers.push('Connection', 'close');
      response.sendDate = false;
      response.writeHead(status, reason, headers);
      response.flushHeaders();
      return response;
    },
    end(trailers) {
      if (trailers.length > 0) response.addTrailers(trailers);
      response.end();
    },
    refuse: (status, body) => refuseRequest(request, response, lingerMs, status, body),
    breakOff: () => void request.socket.destroy(),
    onClose: (listener) => void response.once('close', () => listener(response.writableFinished)),
  };
}
