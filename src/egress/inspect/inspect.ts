/** The stage between a granted connection and its dial: requests to inspected endpoints are read and judged by themselves. */
import type { Route } from '../../policy/judge.ts';
import type { BodyFacts } from '../../policy/request.ts';
import { brief } from '../../policy/request-test.ts';
import type { DenyReason, DenyVerdict } from '../../policy/verdict.ts';
import type { Arrival, Grant, InspectableRequest, Outcome, Refusal, RequestContent } from '../stages.ts';
import { readTarget } from './path.ts';
import { graphqlShape, plainShape, rpcShape, type Shape } from './shape.ts';

export type Inspected =
  | {
      readonly ok: true;
      readonly tunnel: undefined;
      /** What goes to the origin; undefined leaves it as it came. */
      readonly content: RequestContent | undefined;
      /** That allows the request, where it was judged. */
      readonly rule?: string;
      /** Set where only audit lets the request pass. */
      readonly violation: DenyVerdict | undefined;
    }
  /** Nothing to dial: what is inside arrives by itself. */
  | { readonly ok: true; readonly tunnel: () => Promise<Outcome> }
  | { readonly ok: false; readonly refusal: Refusal; readonly shape: Shape };

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
  if (requests === undefined)
    return { ok: true, tunnel: undefined, content: undefined, violation: undefined };
  const { request } = arrival;
  if (request === undefined) {
    const { open } = arrival;
    return open === undefined
      ? refused(
          'protocol_not_inspected',
          'requests to this destination are inspected, and this is no HTTP',
          rule,
        )
      : { ok: true, tunnel: () => open.call(arrival) };
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
  if (route === undefined)
    return refused('request_not_listed', `no endpoint is about the path ${brief(path.allow[0] ?? '')}`, rule);
  if (target.hasEncodedSlash && !route.allowEncodedSlash)
    return refused('request_unreadable', 'the path has an encoded slash', route.rule);
  const read = await readBody(request, query, route);
  if (!read.ok) return refused('request_unreadable', read.detail, route.rule, read.shape);
  const { facts: body, shape } = read;
  const verdict = requests.judge({ method: request.method, path, query, body });
  if (!verdict.allow) return denied(verdict, shape);
  const content = { target: target.forward, body: read.body };
  return { ok: true, tunnel: undefined, content, rule: verdict.rule, violation: verdict.violation };
}

async function readBody(
  request: InspectableRequest,
  query: readonly (readonly [string, string])[],
  route: Route,
): Promise<ReadBody> {
  if (route.protocol === 'rest')
    return { ok: true, facts: { kind: 'uninspected' }, body: undefined, shape: plainShape };
  const body = await request.body(route.maxBodyBytes);
  if (body === undefined)
    return {
      ok: false,
      detail: `the body is larger than ${route.maxBodyBytes} bytes, did not come, or found no room beside others`,
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
  if (route.protocol === 'graphql') {
    // The parser costs a while to load, which runs without GraphQL need not pay.
    const { readGraphql } = await import('./graphql.ts');
    const read = readGraphql(sent, { persisted: route.persistedQueries });
    return read.ok
      ? { ok: true, facts: read.body, body, shape: graphqlShape }
      : { ok: false, detail: read.detail, shape: graphqlShape };
  }
  const { readJsonRpc, readMcp } = await import('./json-rpc.ts');
  const read =
    route.protocol === 'mcp' ? readMcp(sent, { strictToolNames: route.strictToolNames }) : readJsonRpc(sent);
  const shape = rpcShape(read.ids, read.batch);
  return read.ok ? { ok: true, facts: read.body, body, shape } : { ok: false, detail: read.detail, shape };
}

function refused(reason: DenyReason, detail: string, nearest: string, shape?: Shape): Inspected {
  return denied({ allow: false, reason, detail, nearest }, shape);
}

function denied(verdict: DenyVerdict, shape: Shape = plainShape): Inspected {
  return { ok: false, refusal: { result: 'denied', verdict }, shape };
}
