import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { ClientExchange } from '../exchange.ts';
import { toHeaderObject, withoutPseudo } from '../relay/headers.ts';
import { framingOf } from '../relay/origin-http2.ts';

/** gRPC's own names for what HTTP statuses say (grpc/doc/statuscodes.md); others are UNKNOWN. */
const GRPC_CODES: Readonly<Record<number, number>> = {
  400: 3,
  403: 7,
  429: 8,
  500: 13,
  502: 14,
  503: 14,
  504: 4,
};
const GRPC_UNKNOWN = 2;

/** RFC 9110 §6.4.1. */
const WITHOUT_BODY: readonly number[] = [204, 205, 304];

/** A request as node:http2 gives it. */
export function http2Exchange(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  raw: readonly string[],
): ClientExchange {
  const isHead = headers[':method'] === 'HEAD';
  let trailers: readonly string[] = [];
  stream.on('trailers', (_headers: unknown, _flags: number, fields: readonly string[]) => {
    trailers = withoutPseudo(fields);
  });
  return {
    version: '2',
    method: headers[':method'] ?? '',
    target: headers[':path'] ?? '',
    headers,
    fields: withoutPseudo(raw),
    framing: framingOf(stream.endAfterHeaders, headers['content-length']),
    body: stream,
    trailers: () => trailers,
    isComplete: () => stream.readableEnded || stream.endAfterHeaders,
    isGone: () => stream.destroyed || stream.closed,
    hasBegun: () => stream.headersSent,
    interim(status, link) {
      if (status === 100 && headers.expect === undefined) return;
      if (status === 103 && link === undefined) return;
      stream.additionalHeaders({ ':status': status, ...(link !== undefined && { link }) });
    },
    respond({ status, fields, framing }) {
      const head = {
        ...toHeaderObject(fields),
        ':status': status,
        ...(framing.kind === 'length' && { 'content-length': framing.length }),
      };
      // The origin's own, or none.
      Object.assign(stream, { sendDate: false });
      // An answer without a body ends with its head: to gRPC that makes a difference.
      const endStream = framing.kind === 'none' || isHead || WITHOUT_BODY.includes(status);
      stream.respond(head, { endStream, waitForTrailers: !endStream });
      return stream;
    },
    end(fields) {
      if (!stream.writableEnded && !stream.destroyed) {
        stream.once('wantTrailers', () => stream.sendTrailers(toHeaderObject(fields.flat())));
        stream.end();
      }
      leaveUnread(stream);
    },
    refuse(status, body) {
      if (stream.destroyed || stream.headersSent) return void stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      stream.resume();
      leaveUnread(stream);
      if (/^application\/grpc($|[;+])/i.test(headers['content-type'] ?? ''))
        return refuseGrpc(stream, status, body);
      const text = `${JSON.stringify(body)}\n`;
      const head = {
        ':status': status,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
      };
      stream.respond(head, { endStream: isHead });
      if (!isHead) stream.end(text);
    },
    breakOff: () => void stream.close(constants.NGHTTP2_REFUSED_STREAM),
    onClose: (listener) =>
      void stream.once('close', () =>
        listener(stream.writableFinished && stream.rstCode === constants.NGHTTP2_NO_ERROR),
      ),
  };
}

/** What is still to come has no place to go (RFC 9113 §8.1). */
function leaveUnread(stream: ServerHttp2Stream): void {
  if (!stream.readableEnded) stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR));
}

/** An answer that consists of trailers alone (gRPC over HTTP/2, Responses). */
function refuseGrpc(stream: ServerHttp2Stream, status: number, body: object): void {
  const detail = 'detail' in body && typeof body.detail === 'string' ? body.detail : JSON.stringify(body);
  stream.respond(
    {
      ':status': 200,
      'content-type': 'application/grpc',
      'grpc-status': String(GRPC_CODES[status] ?? GRPC_UNKNOWN),
      // gRPC percent-encodes the message.
      'grpc-message': encodeURIComponent(detail),
    },
    { endStream: true },
  );
}
