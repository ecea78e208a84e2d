/** Requests to an origin in HTTP/2, beside each other on one connection. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { errnoOf } from '../../errors.ts';
import type { Framing, Origin, OriginEvents, OriginRequest, RequestHead } from '../exchange.ts';
import type { EgressLimits } from '../limits.ts';
import { toHeaderObject, withoutPseudo } from './headers.ts';

export interface Http2OriginOptions {
  readonly limits: EgressLimits;
  /** Called once when the connection takes no more requests. */
  readonly onLost: () => void;
  /** Whether other requests may follow when the last is over. */
  readonly isKept: () => boolean;
}

/** Owns the socket. It is closed when the last request is over and `isKept` says so, or when the origin ends it. */
export function createHttp2Origin(socket: Socket, { limits, onLost, isKept }: Http2OriginOptions): Origin {
  const session = connect('http://origin.invalid', {
    createConnection: () => socket,
    settings: { enablePush: false, maxHeaderListSize: limits.responseHeadBytes },
    maxReservedRemoteStreams: 0,
    maxSessionMemory: limits.sessionMegabytes,
  });
  watch(session, limits, onLost);
  let open = 0;
  return {
    ask(head, events) {
      const stream = openStream(session, head);
      if (stream instanceof Error) {
        // A session that is closing takes no request, and has done nothing about it.
        const isStale = session.closed || session.destroyed;
        events.failed({ status: 502, error: 'upstream_failed', detail: stream.message, isStale });
        return undefined;
      }
      open += 1;
      stream.once('close', () => {
        open -= 1;
        if (open === 0 && !isKept()) session.close();
      });
      const transferred = listen(stream, limits, events);
      return {
        body: stream,
        end(trailers) {
          if (stream.writableEnded || stream.destroyed) return;
          const fields = toHeaderObject(trailers.flat());
          stream.once('wantTrailers', () => stream.sendTrailers(fields));
          stream.end();
        },
        transferred,
        close() {
          if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
        },
      };
    },
  };
}

function watch(session: ClientHttp2Session, limits: EgressLimits, onLost: () => void): void {
  let lost = false;
  const lose = (): void => {
    if (lost) return;
    lost = true;
    onLost();
  };
  // Each stream has an error of its own.
  session.on('error', () => {});
  session.on('goaway', lose).on('close', lose);
  session.setTimeout(limits.keepAliveMs, () => {
    // A stream has a longer limit than the connection, which closes when the last one is over.
    lose();
    session.close();
  });
}

function openStream(
  session: ClientHttp2Session,
  { method, scheme, authority, path, fields, framing, takesTrailers }: RequestHead,
): ClientHttp2Stream | Error {
  const headers = {
    ...toHeaderObject(fields),
    ':method': method,
    ':scheme': scheme,
    ':authority': authority,
    ':path': path,
    ...(framing.kind === 'length' && { 'content-length': framing.length }),
    ...(takesTrailers && { te: 'trailers' }),
  };
  try {
    return session.request(headers, { endStream: framing.kind === 'none', waitForTrailers: true });
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Returns the count of content both ways. */
function listen(
  stream: ClientHttp2Stream,
  limits: EgressLimits,
  events: OriginEvents,
): OriginRequest['transferred'] {
  const bytes = { bytesOut: 0, bytesIn: 0 };
  let over = false;
  let trailers: readonly string[] = [];
  const fail = (status: 502 | 504, error: string, detail: string): void => {
    if (over) return;
    over = true;
    // RFC 9113 §8.7: such a request has not been looked at.
    const isStale = stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
    events.failed({ status, error, detail, isStale });
  };
  stream.on('error', (error) => fail(502, 'upstream_failed', errnoOf(error) ?? error.message));
  stream.once('close', () => fail(502, 'upstream_failed', `the stream ended with code ${stream.rstCode}`));
  stream.setTimeout(limits.requestIdleMs, () =>
    fail(504, 'upstream_timeout', `idle for ${limits.requestIdleMs} ms`),
  );
  stream.on('pipe', (source: Readable) =>
    source.on('data', (chunk: Buffer) => {
      bytes.bytesOut += chunk.length;
    }),
  );
  stream.on('continue', () => {
    if (!over) events.interim(100, undefined);
  });
  stream.on('headers', (headers: IncomingHttpHeaders & IncomingHttpStatusHeader) => {
    if (!over) events.interim(headers[':status'] ?? 0, headers['link']?.toString());
  });
  stream.on('trailers', (_headers: unknown, _flags: number, raw: readonly string[]) => {
    trailers = withoutPseudo(raw);
  });
  stream.once('response', (headers, flags: number, raw?: readonly string[]) => {
    if (over) return;
    const status = headers[':status'] ?? 502;
    const ended = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const head = {
      status,
      reason: '',
      fields: withoutPseudo(raw ?? []),
      framing: framingOf(ended, headers['content-length']),
    };
    stream.once('end', () => {
      over = stream.rstCode === constants.NGHTTP2_NO_ERROR;
    });
    events.response(head, stream, () => trailers);
    // After the reader's own: the first chunk is for both.
    stream.on('data', (chunk: Buffer) => {
      bytes.bytesIn += chunk.length;
    });
  });
  return () => bytes;
}

/** As nghttp2 read it, which holds the body to its length. */
export function framingOf(ended: boolean, length: string | undefined): Framing {
  if (ended) return { kind: 'none' };
  return length === undefined ? { kind: 'open' } : { kind: 'length', length };
}
