/** The stage between a granted connection and its dial: requests to inspected endpoints are read and judged by themselves. */
import type { Route } from '../../policy/judge.ts';
import { localService } from '../../policy/local-names.ts';
import type { BodyFacts, RequestFacts } from '../../policy/request.ts';
import type { DenyReason, DenyVerdict } from '../../policy/verdict.ts';
import type { Admission } from '../decide/live.ts';
import type { Arrival, Grant, InspectableRequest, Outcome, RequestContent } from '../stages.ts';
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
    }
  /** Nothing to dial: what is inside arrives by itself. */
  | {
      readonly kind: 'tunnel';
      readonly open: () => Promise<Outcome>;
      readonly admission: Admission;
      readonly violation?: undefined;
    }
  | { readonly kind: 'denied'; readonly verdict: DenyVerdict; readonly shape: Shape };

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
export async function inspect(arrival: Arrival, grant: Grant): Promise<Inspected> {
  const { requests, rule } = grant.verdict;
  const { request, open, intent } = arrival;
  const isOpened = requests !== undefined || localService(intent.host, intent.port) !== undefined;
  if (request === undefined && isOpened)
    return open === undefined
      ? refused(
          'protocol_not_inspected',
          'requests to this destination are inspected, and this is no HTTP',
          rule,
        )
      : { kind: 'tunnel', open: () => open.call(arrival), admission: { kind: 'opened' } };
  if (request === undefined || requests === undefined)
    return { kind: 'pass', content: undefined, rule, violation: undefined, admission: { kind: 'unread' } };
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
  if (!verdict.allow) return denied(verdict, shape);
  const text =
    route.protocol === 'websocket' ? { ...facts, body: { kind: 'websocket-text' } as const } : undefined;
  const sending = text && route.judge(text);
  const refusesText = sending?.allow === false ? sending : undefined;
  const content = { target: target.forward, body: read.body, refusesText };
  const admission: Admission = {
    kind: 'request',
    protocol: route.protocol,
    facts: text === undefined || refusesText !== undefined ? [facts] : [facts, text],
  };
  const violation = verdict.violation ?? (sending?.allow === true ? sending.violation : undefined);
  return { kind: 'pass', content, rule: verdict.rule, violation, admission };
}

/** Only some protocols are about WebSocket, and one is about nothing else. */
function webSocketMisfit({ isWebSocket }: InspectableRequest, { protocol }: Route): string | undefined {
  if (protocol === 'websocket')
    return isWebSocket ? undefined : 'this endpoint is for WebSocket, and the request opens none';
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

function denied(verdict: DenyVerdict, shape: Shape = plainShape): Inspected {
  return { kind: 'denied', verdict, shape };
}
