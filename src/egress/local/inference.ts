/** inference.local: a request to a model, sent to the operator's endpoint with the operator's key. */
import type { Report } from '../../audit/event.ts';
import { checkOperatorDestination } from '../../policy/destination.ts';
import { formatAuthority } from '../accept/authority.ts';
import type { Origin, OriginFailure, OriginRequest, ResponseHead } from '../exchange.ts';
import type { EgressLimits } from '../limits.ts';
import { type ReachOptions, reach } from '../relay/reach.ts';
import type { Outcome, Refusal } from '../stages.ts';
import { answerJson, untilClosed } from './answer.ts';
import type { LocalCall } from './local.ts';
import { type AnswerEnd, type ModelAnswer, relayModelAnswer } from './model-answer.ts';
import { type ModelQuestion, modelRequest, readQuestion, routesFor } from './model-request.ts';
import type { ModelRouteStore } from './model-route-store.ts';
import type { ModelRoute } from './model-routes.ts';
import { type ModelShape, modelShape } from './model-shapes.ts';

export interface InferenceMeans {
  readonly routes: ModelRouteStore;
  readonly reach: Omit<ReachOptions, 'signal' | 'check'>;
  readonly report: Report;
  readonly limits: EgressLimits;
}

interface Answered {
  readonly status: number;
  readonly body: object;
}

/** Never rejects. */
export async function callModel(call: LocalCall, means: InferenceMeans): Promise<Outcome> {
  const began = performance.now();
  const { exchange, intent, grant } = call;
  const closed = untilClosed(exchange);
  const read = await readCall(call, means);
  if ('status' in read) return answerJson(call, read.status, read.body, closed);
  const { shape, question, candidates } = read;
  const asked = await askFirst(candidates, shape, question, call, means);
  const { route } = asked;
  const end = asked.ok
    ? await relayModelAnswer(asked.answer, { call, closed, route, shape, question, limits: means.limits })
    : await tell(asked.failure, call, closed);
  if (asked.ok) asked.request.close();
  means.report({
    kind: 'model-called',
    intent,
    identity: grant.identity,
    rule: grant.verdict.rule,
    route: route.name,
    provider: route.provider,
    model: route.model,
    operation: shape.protocol,
    streamed: question.streams,
    durationMs: performance.now() - began,
    ...(end.httpStatus !== undefined && { httpStatus: end.httpStatus }),
    ...(end.detail !== undefined && { detail: end.detail }),
    ...end.usage,
  });
  const { usage: _usage, ...outcome } = end;
  return outcome;
}

interface ReadCall {
  readonly shape: ModelShape;
  readonly question: ModelQuestion;
  readonly candidates: readonly ModelRoute[];
}

async function readCall(call: LocalCall, { routes, limits }: InferenceMeans): Promise<ReadCall | Answered> {
  const { exchange, content, arrival, intent } = call;
  const shape = modelShape(intent.http.method, content?.target ?? arrival.request?.target ?? '');
  if (shape === undefined)
    return refusal(
      404,
      'unknown_model_request',
      'POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings, /v1/messages, /model/ID/invoke and GET /v1/models are answered here',
    );
  if (routes.current.length === 0)
    return refusal(
      503,
      'inference_not_configured',
      'whoever runs this sandbox has given it no model: castellan run --inference-routes',
    );
  const { framing, headers } = exchange;
  const isTooLong = framing.kind === 'length' && Number(framing.length) > limits.modelRequestBytes;
  const tooLarge = refusal(
    413,
    'body_too_large',
    `the body is larger than ${limits.modelRequestBytes} bytes, did not come, or found no room beside others`,
  );
  if (isTooLong) return tooLarge;
  if (headers['content-encoding'] !== undefined)
    return refusal(415, 'body_encoded', 'the body has a Content-Encoding; send it as it is');
  const body = content?.body ?? (await arrival.request?.body(limits.modelRequestBytes));
  if (body === undefined) return tooLarge;
  const read = readQuestion(shape, body);
  if (!read.ok) return refusal(400, 'malformed_body', read.detail);
  const { question } = read;
  const candidates = routesFor(routes.current, shape.protocol, question.model).filter(
    ({ modelInPath }) => !(modelInPath && shape.path.endsWith('/count_tokens')),
  );
  if (candidates.length === 0 && shape.protocol === 'model_discovery')
    return listModels(routes.current, question.model);
  if (candidates.length === 0)
    return refusal(
      400,
      'no_route',
      `no model here is spoken to by ${shape.protocol}${question.model === undefined ? '' : ' under the name that was asked for'}`,
    );
  return { shape, question, candidates: routes.inOrder(candidates) };
}

/** Where no endpoint is asked for its models, they are those of the routes. */
function listModels(routes: readonly ModelRoute[], wanted: string | undefined): Answered {
  const models = new Map(
    routes.map(({ model, provider }) => [
      model,
      { id: model, object: 'model', created: 0, owned_by: provider },
    ]),
  );
  if (wanted === undefined) return { status: 200, body: { object: 'list', data: [...models.values()] } };
  const model = models.get(wanted);
  return model === undefined
    ? refusal(404, 'unknown_model', 'there is no such model here')
    : { status: 200, body: model };
}

function refusal(status: number, error: string, detail: string): Answered {
  return { status, body: { error, detail } };
}

type Asked =
  | {
      readonly ok: true;
      readonly route: ModelRoute;
      readonly answer: ModelAnswer;
      readonly request: OriginRequest;
    }
  | { readonly ok: false; readonly route: ModelRoute; readonly failure: OriginFailure };

/** The first route that can be reached. Once a request is on its way there is no other try: it may have been paid for. */
async function askFirst(
  candidates: readonly ModelRoute[],
  shape: ModelShape,
  question: ModelQuestion,
  call: LocalCall,
  means: InferenceMeans,
): Promise<Asked> {
  const { exchange, arrival } = call;
  let failed: Extract<Asked, { ok: false }> | undefined;
  for (const route of candidates) {
    const origin = await reachRoute(route, call, means);
    means.routes.noteReached(route, origin.ok);
    if (!origin.ok) {
      failed = { ok: false, route, failure: origin.failure };
      if (call.signal.aborted) break;
      continue;
    }
    // Neither TLS nor a connection that was kept has heard of it.
    if (call.signal.aborted) return { ok: false, route, failure: GONE };
    const sent = modelRequest(shape, question, exchange.fields, route);
    const headMs = question.streams ? means.limits.modelIdleMs : route.timeoutMs;
    const asked = await ask(origin.origin, route, sent, { ...means, headMs, signal: call.signal });
    return 'answer' in asked ? { ok: true, route, ...asked } : { ok: false, route, failure: asked };
  }
  if (failed === undefined) throw new TypeError(`no route for ${arrival.intent.host}`);
  return failed;
}

const GONE = {
  status: 502,
  error: 'model_failed',
  detail: 'the client went away, or lost the right to ask',
  isStale: false,
} as const satisfies OriginFailure;

type ReachedRoute =
  | { readonly ok: true; readonly origin: Origin }
  | { readonly ok: false; readonly failure: OriginFailure };

/** By the same stages as any connection, with the operator's word in place of the policy's. */
async function reachRoute(
  route: ModelRoute,
  { arrival, intent, grant, signal }: LocalCall,
  { reach: means, routes }: InferenceMeans,
): Promise<ReachedRoute> {
  const { scheme, host, port, tlsAuthority } = route;
  const origins = routes.originsOf(arrival);
  const reached = await reach(
    { intent: { ...intent, host, port, http: { ...intent.http, scheme } }, origins },
    // What the policy says of the origin is about inference.local.
    { ...grant, verdict: { ...grant.verdict, tlsAuthority } },
    {
      ...means,
      signal,
      check: (_verdict, ...destination) => checkOperatorDestination(scheme, ...destination),
    },
  );
  if (reached.ok) return { ok: true, origin: origins.over(reached.upstream) };
  return { ok: false, failure: failureOf(reached.refusal) };
}

function failureOf(refusal: Refusal): OriginFailure {
  if (refusal.result === 'denied')
    return { status: 502, error: 'model_unreachable', detail: refusal.verdict.detail, isStale: false };
  const { status, error, detail } = refusal;
  return { status: status === 504 ? 504 : 502, error, detail, isStale: false };
}

interface AskOptions {
  readonly limits: EgressLimits;
  /** For the head of the answer. */
  readonly headMs: number;
  readonly signal: AbortSignal;
}

function ask(
  origin: Origin,
  { scheme, host, port }: ModelRoute,
  { method, path, fields, body }: ReturnType<typeof modelRequest>,
  { limits, headMs, signal }: AskOptions,
): Promise<{ readonly answer: ModelAnswer; readonly request: OriginRequest } | OriginFailure> {
  const { promise, resolve } = Promise.withResolvers<Awaited<ReturnType<typeof ask>>>();
  let interimLeft = limits.interimResponses;
  let request: OriginRequest | undefined;
  const fail = (failure: OriginFailure): void => {
    clearTimeout(timer);
    resolve(failure);
    request?.close();
  };
  const late = {
    status: 504,
    error: 'model_timeout',
    detail: `no answer within ${headMs} ms`,
    isStale: false,
  } as const;
  const timer = setTimeout(() => fail(late), headMs);
  const broken = (detail: string): OriginFailure => ({
    status: 502,
    error: 'model_failed',
    detail,
    isStale: false,
  });
  signal.addEventListener('abort', () => fail(GONE), { once: true });
  const authority = formatAuthority({ host, port }, scheme === 'https' ? 443 : 80);
  const hasBody = body.length > 0;
  const framing = hasBody
    ? ({ kind: 'length', length: String(body.length) } as const)
    : ({ kind: 'none' } as const);
  request = origin.ask(
    { method, scheme, authority, path, fields, framing, takesTrailers: false },
    {
      interim() {
        interimLeft -= 1;
        if (interimLeft < 0) fail(broken('too many interim responses'));
      },
      response(head: ResponseHead, incoming) {
        clearTimeout(timer);
        // Whoever reads it hears of its errors; until then nobody may be surprised by one.
        incoming.on('error', () => {});
        if (request !== undefined) resolve({ answer: { head, body: incoming }, request });
      },
      failed: fail,
    },
  );
  if (hasBody) request?.body.write(body);
  request?.end([]);
  return promise;
}

/** What a provider's address or certificate is stays with the operator: the record has it. */
async function tell(
  { status, error, detail, isStale }: OriginFailure,
  call: LocalCall,
  closed: Promise<boolean>,
): Promise<AnswerEnd> {
  const body = {
    error,
    detail: 'the model could not be asked; whoever runs this sandbox finds the reason in its log',
  };
  // As without castellan, the client knows best whether to ask again on another connection.
  if (isStale) call.exchange.breakOff();
  const outcome = await answerJson(call, status, body, closed);
  return { ...outcome, result: 'failed', detail, usage: {} };
}
