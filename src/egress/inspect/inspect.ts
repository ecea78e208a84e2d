/** The stage between a granted connection and its dial: requests to inspected endpoints are read and judged by themselves. */

import type { CredentialUse } from '../../policy/document.ts';
import type { Route } from '../../policy/judge.ts';
import { localService } from '../../policy/local-names.ts';
import type { BodyFacts, RequestFacts } from '../../policy/request.ts';
import { type RequestNames, requestNames } from '../../policy/request-names.ts';
import type { DenyReason, DenyVerdict, Query } from '../../policy/verdict.ts';
import { queryOf } from '../decide/decide.ts';
import type { Admission } from '../decide/live.ts';
import type { Arrival, Grant, InspectableRequest, Outcome, RequestContent } from '../stages.ts';
import { textConversation, type Witness } from './conversation.ts';
import { offersGraphql } from './graphql-subprotocols.ts';
import { readJsonRpc, readMcp } from './json-rpc.ts';
import { readTarget } from './path.ts';
import { graphqlShape, plainShape, rpcShape, type Shape } from './shape.ts';

export type Inspected =
  | {
      readonly kind: 'pass';
      /** What goes to the origin; undefined leaves it as it came. */
      readonly content: RequestContent | undefined;
      /** That allows it. */
      readonly rule: string;
      /** Set where only audit lets the request pass. */
      readonly violation: DenyVerdict | undefined;
      readonly admission: Admission;
      /** What it asks for, for the record; undefined where nothing was read. */
      readonly names: RequestNames | undefined;
      /** How credentials are used in it. */
      readonly credentials: CredentialUse | undefined;
    }
  /** Nothing to dial: what is inside arrives by itself. */
  | {
      readonly kind: 'tunnel';
      readonly open: () => Promise<Outcome>;
      readonly admission: Admission;
      readonly violation?: undefined;
      readonly names?: undefined;
    }
  | {
      readonly kind: 'denied';
      readonly verdict: DenyVerdict;
      readonly shape: Shape;
      readonly names: RequestNames | undefined;
    };

/** A body as its inspector reads it, with how its client wants to be refused. */
export type ReadBody =
  | { readonly ok: true; readonly facts: BodyFacts; readonly body: Buffer | undefined; readonly shape: Shape }
  | { readonly ok: false; readonly detail: string; readonly shape: Shape };

/** Frameworks take the method or the path from these instead of the request line. */
const OVERRIDES: readonly string[] = [
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
];

/** Never rejects for anything a client may send. */
export async function inspect(
  arrival: Arrival,
  grant: Grant,
  witness: Witness,
  /** Whether TLS is opened for the requests in it, also where they are not judged. */
  opens: (arrival: Arrival, grant: Grant) => boolean = () => false,
): Promise<Inspected> {
  const { requests, rule, credentials } = grant.verdict;
  const { request, open, intent } = arrival;
  const isOpened =
    requests !== undefined ||
    localService(intent.host, intent.port) !== undefined ||
    (request === undefined && opens(arrival, grant));
  if (request === undefined && isOpened)
    return open === undefined
      ? refused(
          'protocol_not_inspected',
          'requests to this destination are inspected, and this is no HTTP',
          rule,
        )
      : { kind: 'tunnel', open: () => open.call(arrival), admission: { kind: 'opened' } };
  if (request === undefined || requests === undefined) {
    const admission = { kind: 'unread' } as const;
    const unread = { content: undefined, violation: undefined, names: undefined };
    return { kind: 'pass', rule, admission, credentials, ...unread };
  }
  const override = OVERRIDES.find((name) => request.headers[name] !== undefined);
  if (override !== undefined)
    return refused(
      'request_unreadable',
      `the header ${override} asks for another request than the one that is judged`,
      rule,
    );
  const target = readTarget(request.target, { encodedSlash: requests.encodedSlash });
  if (!target.ok) return refused('request_unreadable', target.detail, rule);
  const { path, query } = target;
  const route = requests.route(path);
  if (!('judge' in route)) return denied({ ...route, nearest: rule });
  if (target.hasEncodedSlash && !route.inspection.allowEncodedSlash)
    return refused('request_unreadable', 'the path has an encoded slash', route.rule);
  const misfit = webSocketMisfit(request, route);
  if (misfit !== undefined) return refused('protocol_not_inspected', misfit, route.rule);
  const read = await readBody(request, query, route);
  if (!read.ok) return refused('request_unreadable', read.detail, route.rule, read.shape);
  const { facts: body, shape } = read;
  const facts = { method: request.method, path, query, body };
  const verdict = route.judge(facts);
  const names = requestNames(route.protocol, body);
  if (!verdict.allow) return denied(verdict, shape, names);
  const passed = {
    kind: 'pass',
    rule: verdict.rule,
    violation: verdict.violation,
    names,
    credentials: route.credentials,
  } as const;
  const sent = { target: target.forward, body: read.body };
  const { protocol } = route;
  if (protocol !== 'websocket')
    return { ...passed, content: sent, admission: { kind: 'request', protocol, facts: [facts] } };
  const { conversation, admission } = route.speaksGraphql
    ? await converse(facts, route, witness, queryOf(arrival, { ok: true, identity: grant.identity }))
    : sendText(facts, route, witness);
  return { ...passed, content: { ...sent, conversation }, admission };
}

/** The right to send text is known when the WebSocket is opened. */
function sendText(facts: RequestFacts, route: Route, witness: Witness) {
  const text = { ...facts, body: { kind: 'websocket-text' } } as const;
  const verdict = route.judge(text);
  return {
    conversation: textConversation(verdict, witness),
    admission: {
      kind: 'request',
      protocol: 'websocket',
      facts: verdict.allow ? [facts, text] : [facts],
    } satisfies Admission,
  };
}

async function converse(facts: RequestFacts, route: Route, witness: Witness, query: Query) {
  // The parser costs a while to load, which runs without GraphQL need not pay.
  const { graphqlConversation } = await import('./graphql-conversation.ts');
  const conversation = graphqlConversation({ facts, route, witness, query });
  const admission = {
    kind: 'request',
    protocol: 'websocket',
    get facts() {
      return conversation.facts;
    },
    renew: conversation.renew,
  } satisfies Admission;
  return { conversation, admission };
}

/** Only some protocols are about WebSocket, and one is about nothing else. */
function webSocketMisfit(
  { isWebSocket, headers }: InspectableRequest,
  { protocol, speaksGraphql }: Route,
): string | undefined {
  if (protocol === 'websocket') {
    if (!isWebSocket) return 'this endpoint is for WebSocket, and the request opens none';
    return speaksGraphql && !offersGraphql(headers['sec-websocket-protocol'])
      ? 'this endpoint is for GraphQL, whose subprotocols are graphql-transport-ws and graphql-ws'
      : undefined;
  }
  return isWebSocket && protocol !== 'rest'
    ? `the endpoint is inspected as ${protocol}, which nothing in a WebSocket is`
    : undefined;
}

async function readBody(
  request: InspectableRequest,
  query: RequestFacts['query'],
  { protocol, inspection }: Route,
): Promise<ReadBody> {
  if (protocol === 'rest' || protocol === 'websocket')
    return { ok: true, facts: { kind: 'uninspected' }, body: undefined, shape: plainShape };
  const body = await request.body(inspection.maxBodyBytes);
  if (body === undefined)
    return {
      ok: false,
      detail: `the body is larger than ${inspection.maxBodyBytes} bytes, did not come, or found no room beside others`,
      shape: plainShape,
    };
  const { method, headers } = request;
  const sent = {
    method,
    query,
    contentType: headers['content-type'],
    contentEncoding: headers['content-encoding'],
    accept: headers.accept,
    body,
  };
  if (protocol === 'graphql') {
    // The parser costs a while to load, which runs without GraphQL need not pay.
    const { readGraphql } = await import('./graphql.ts');
    const read = readGraphql(sent, { persisted: inspection.persistedQueries });
    return read.ok
      ? { ok: true, facts: read.body, body, shape: graphqlShape }
      : { ok: false, detail: read.detail, shape: graphqlShape };
  }
  const read = protocol === 'mcp' ? readMcp(sent, inspection) : readJsonRpc(sent);
  const shape = rpcShape(read.ids, read.batch);
  return read.ok ? { ok: true, facts: read.body, body, shape } : { ok: false, detail: read.detail, shape };
}

function refused(reason: DenyReason, detail: string, nearest: string, shape?: Shape): Inspected {
  return denied({ allow: false, reason, detail, nearest }, shape);
}

function denied(verdict: DenyVerdict, shape: Shape = plainShape, names?: RequestNames): Inspected {
  return { kind: 'denied', verdict, shape, names };
}
