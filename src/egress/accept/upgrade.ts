/** Requests for a WebSocket: arrivals like any other request, whose relay is one of messages. */
import { relayWebSocket, type WebSocketClient, webSocketFlaw } from '../relay/websocket.ts';
import type { Arrival } from '../stages.ts';
import { formatAuthority } from './authority.ts';
import { requestTarget } from './http-target.ts';
import { refuseSocket } from './refusal.ts';
import { adapterOf, type Conversation, type Flaw, intentOf, type RequestMeans } from './request.ts';

export interface UpgradeMeans extends RequestMeans {
  /** WebSockets that are open or opening. */
  readonly webSockets: Set<WebSocketClient>;
}

/** The arrival, or what is wrong with the request. */
export function webSocketArrival(
  conversation: Conversation,
  client: WebSocketClient,
  { limits, webSockets }: UpgradeMeans,
): Arrival | Flaw {
  const { request, socket } = client;
  const { dialled } = conversation;
  const target = requestTarget(request, dialled);
  if (!target.ok) return target;
  const flaw = webSocketFlaw(request);
  if (flaw !== undefined) return { ok: false, status: 400, error: 'malformed_request', detail: flaw };
  if (webSockets.size >= limits.webSockets)
    return {
      ok: false,
      status: 503,
      error: 'too_many_connections',
      detail: 'the sandbox has as many WebSockets open as it may have',
    };
  webSockets.add(client);
  socket.once('close', () => webSockets.delete(client));
  const { authority, path, objection } = target;
  const revoked = new AbortController();
  const scheme = dialled?.opened?.scheme ?? 'http';
  return {
    intent: intentOf(conversation, adapterOf(dialled), authority, { method: 'GET', target: path }),
    objection,
    signal: conversation.client.signal,
    refuse: (status, body) => refuseSocket(socket, limits.lingerMs, status, body),
    revoke: (body) => revoked.abort('detail' in body ? body.detail : undefined),
    request: {
      method: 'GET',
      target: path,
      headers: request.headers,
      fields: request.rawHeaders,
      isWebSocket: true,
      // Nothing in a WebSocket is a body.
      body: async () => undefined,
    },
    relay: (upstream, _grant, content) =>
      relayWebSocket(client, upstream.socket, {
        limits,
        authority: formatAuthority(authority, scheme === 'https' ? 443 : 80),
        path: content?.target ?? path,
        conversation: content?.conversation,
        fields: content?.fields,
        guard: content?.guard,
        revoked: revoked.signal,
      }),
  };
}
