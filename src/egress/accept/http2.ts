/** HTTP/2 from clients, parsed by node:http2 alone, in connections that were opened here: every stream becomes an arrival. */
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { EgressLimits } from '../limits.ts';
import { Origins } from '../relay/origins.ts';
import type { Flow } from '../stages.ts';
import type { Client } from './entrance.ts';
import { http2Exchange } from './exchange-http2.ts';
import { type Dialled, http2Target } from './http-target.ts';
import { type Conversation, carryRequest, type RequestMeans } from './request.ts';

export interface Http2Port {
  /** Takes over a client that speaks HTTP/2 to the origin it thinks it has reached. */
  serve(client: Client, flow: Flow, dialled: Dialled): void;
  /** Takes no new requests; those under way go on. */
  close(): void;
}

/** One port for all HTTP/2. */
export function createHttp2Port(means: RequestMeans): Http2Port {
  const sessions = new Set<ServerHttp2Session>();
  return {
    serve(client, flow, dialled) {
      const session = openSession(client, means);
      sessions.add(session);
      session.once('close', () => sessions.delete(session));
      const streams = endWhenIdle(session, means.limits);
      const onLost = (): void => session.close();
      const origins = new Origins({ limits: means.limits, isHttp2: true, onLost });
      client.signal.addEventListener('abort', () => origins.close(), { once: true });
      const conversation: Conversation = { client, flow, dialled, origins, requests: 0, over: false };
      session.on('stream', (stream, headers, _flags, raw) => {
        streams.add(stream);
        answer(conversation, stream, headers, raw as unknown as readonly string[], means);
      });
    },
    close() {
      for (const session of sessions) session.close();
    },
  };
}

function openSession({ socket }: Client, { limits }: RequestMeans): ServerHttp2Session {
  const session = performServerHandshake(socket, {
    settings: { maxConcurrentStreams: limits.streams, maxHeaderListSize: limits.headBytes },
    maxSessionMemory: limits.sessionMegabytes,
  });
  // The socket's own end is what counts.
  session.on('error', () => {});
  return session;
}

/** Requests keep a session open, and not pings. One that is closing waits until its last frames are read, but not for ever. */
function endWhenIdle(
  session: ServerHttp2Session,
  { keepAliveMs, lingerMs }: EgressLimits,
): { add(stream: ServerHttp2Stream): void } {
  let open = 0;
  let last: NodeJS.Timeout | undefined;
  const look = (): void => {
    clearTimeout(last);
    if (open === 0) last = setTimeout(end, keepAliveMs);
  };
  const end = (): void => {
    session.close();
    if (!session.destroyed) last = setTimeout(() => session.destroy(), lingerMs);
  };
  look();
  session.once('close', () => clearTimeout(last));
  return {
    add(stream) {
      open += 1;
      clearTimeout(last);
      stream.once('close', () => {
        open -= 1;
        if (!session.destroyed) look();
      });
    },
  };
}

function answer(
  conversation: Conversation,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  means: RequestMeans,
): void {
  stream.on('error', () => {});
  stream.setTimeout(means.limits.requestIdleMs + means.limits.headMs, () =>
    stream.close(constants.NGHTTP2_CANCEL),
  );
  const exchange = http2Exchange(stream, headers, raw);
  const target = http2Target(headers, raw, conversation.dialled);
  carryRequest(conversation, exchange, target, means).catch((error: unknown) => {
    means.report({ kind: 'internal-error', where: 'egress/http2', message: String(error) });
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  });
}
