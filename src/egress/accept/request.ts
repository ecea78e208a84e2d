/** One HTTP request on its way into the flow, in whichever version it came. */
import type { Report } from '../../audit/event.ts';
import type { ClientExchange } from '../exchange.ts';
import type { EgressLimits } from '../limits.ts';
import { forward } from '../relay/forward.ts';
import type { Origins } from '../relay/origins.ts';
import type { AdapterName, Arrival, Flow, InspectableRequest, Intent } from '../stages.ts';
import { type Authority, formatAuthority } from './authority.ts';
import { type BodyBudget, readWhole } from './body.ts';
import type { Client } from './entrance.ts';
import { type Dialled, MAX_METHOD_LENGTH, MAX_TARGET_LENGTH, type RequestTarget } from './http-target.ts';

/** The flow. */
export type Carry = (arrival: Arrival) => Promise<void>;

/** A client that sends requests, one after the other or beside each other. */
export interface Conversation {
  readonly client: Client;
  readonly flow: Flow;
  readonly dialled: Dialled | undefined;
  readonly origins: Origins;
  requests: number;
  /** A refusal closes the connection: what was sent behind it is not looked at. */
  over: boolean;
}

export interface RequestMeans {
  readonly limits: EgressLimits;
  readonly carry: Carry;
  readonly report: Report;
  readonly budget: BodyBudget;
}

export type Flaw = Extract<RequestTarget, { ok: false }>;

/** From a parsed request to its end. Rejects only with what `carry` rejects with. */
export async function carryRequest(
  conversation: Conversation,
  exchange: ClientExchange,
  target: RequestTarget,
  means: RequestMeans,
): Promise<void> {
  const { limits, carry } = means;
  const { client, dialled, origins } = conversation;
  const refuse = (status: number, body: object): void => {
    conversation.over = true;
    exchange.refuse(status, body);
  };
  if (!target.ok) {
    recordFlaw(conversation, exchange, target, means.report);
    return refuse(target.status, { error: target.error, detail: target.detail });
  }
  const { authority, path, objection } = target;
  const scheme = dialled?.opened?.scheme ?? 'http';
  await carry({
    intent: intentOf(conversation, adapterOf(dialled), authority, { method: exchange.method, target: path }),
    objection,
    signal: client.signal,
    origins,
    exchange,
    refuse,
    revoke: (body) => refuse(403, body),
    request: inspectable(exchange, path, means),
    relay: (upstream, _grant, content) =>
      forward(exchange, origins.over(upstream), {
        limits,
        scheme,
        authority: formatAuthority(authority, scheme === 'https' ? 443 : 80),
        path: content?.target ?? path,
        body: content?.body,
        fields: content?.fields,
        guard: content?.guard,
      }),
  });
}

/** The way in of a client's requests. */
export function adapterOf(dialled: Dialled | undefined): AdapterName {
  return dialled === undefined ? 'forward' : (dialled.opened?.adapter ?? 'transparent-http');
}

/** A client that waits to be told to send its body is told so only where the body has to be read. */
function inspectable(
  exchange: ClientExchange,
  target: string,
  { limits, budget }: RequestMeans,
): InspectableRequest {
  return {
    method: exchange.method,
    target,
    headers: exchange.headers,
    fields: exchange.fields,
    isWebSocket: false,
    body(maxBytes) {
      exchange.interim(100, undefined);
      const over = (release: () => void) => exchange.onClose(release);
      return readWhole(exchange.body, {
        maxBytes,
        ms: limits.bodyMs,
        roomMs: limits.bodyRoomMs,
        budget,
        over,
      });
    },
  };
}

/** What is recorded about a connection, or with `request` about one request of it. */
export function intentOf(
  conversation: Pick<Conversation, 'client' | 'flow' | 'dialled' | 'requests'>,
  adapter: AdapterName,
  { host, port }: Authority,
  request?: { readonly method: string; readonly target: string },
): Intent {
  conversation.requests += 1;
  const { connectionId } = conversation.client;
  const http = request && {
    method: request.method.slice(0, MAX_METHOD_LENGTH),
    path: (request.target.split('?', 1)[0] ?? '').slice(0, MAX_TARGET_LENGTH),
    scheme: conversation.dialled?.opened?.scheme ?? ('http' as const),
  };
  return {
    connectionId: http === undefined ? connectionId : `${connectionId}.${conversation.requests}`,
    adapter,
    host,
    port,
    flow: conversation.flow,
    startedAt: Date.now(),
    ...(http && { http }),
  };
}

/** No host could be read: the record shows what the client was connected to. */
export function recordFlaw(
  conversation: Conversation,
  request: { readonly method: string; readonly target: string } | undefined,
  { detail }: Flaw,
  report: Report,
): void {
  const { remoteAddress, remotePort } = conversation.flow;
  const place = { host: remoteAddress, port: remotePort };
  const intent = intentOf(conversation, adapterOf(conversation.dialled), place, request);
  report({ kind: 'connection-failed', intent, identity: undefined, rule: undefined, detail });
}
