/** A model's answer on its way to the client: passed on as it comes, counted, limited, and ended in words where it breaks off. */
import type { Readable, Writable } from 'node:stream';
import type { ClientExchange, ResponseHead } from '../exchange.ts';
import type { EgressLimits } from '../limits.ts';
import { pairs, responseFields } from '../relay/headers.ts';
import type { Outcome } from '../stages.ts';
import { answerJson, outcomeOf } from './answer.ts';
import { EventSplitter, errorEvent, noteEventUsage } from './event-stream.ts';
import type { LocalCall } from './local.ts';
import type { ModelQuestion } from './model-request.ts';
import type { ModelRoute } from './model-routes.ts';
import type { ModelShape } from './model-shapes.ts';
import { type ModelUsage, noteUsage } from './model-usage.ts';

export interface ModelAnswer {
  readonly head: ResponseHead;
  readonly body: Readable;
}

export interface ModelAnswerOptions {
  readonly call: LocalCall;
  /** When the client has all, or is gone. */
  readonly closed: Promise<boolean>;
  readonly route: ModelRoute;
  readonly shape: ModelShape;
  readonly question: ModelQuestion;
  readonly limits: EgressLimits;
}

export interface AnswerEnd extends Outcome {
  readonly usage: ModelUsage;
}

/** Between a provider and castellan. */
const NOT_PASSED: readonly string[] = [
  'alt-svc',
  'set-cookie',
  'strict-transport-security',
  'www-authenticate',
];

/** Relays the answer to its end. Never rejects. */
export async function relayModelAnswer(answer: ModelAnswer, options: ModelAnswerOptions): Promise<AnswerEnd> {
  const { head } = answer;
  const { limits } = options;
  const { exchange } = options.call;
  if (head.status >= 300 && head.status < 400)
    return replace(answer, options, 'the provider redirects, which castellan does not follow');
  if (head.framing.kind === 'length' && Number(head.framing.length) > limits.modelAnswerBytes)
    return replace(answer, options, `the answer is larger than ${limits.modelAnswerBytes} bytes`);
  const type = fieldOf(head, 'content-type') ?? '';
  const isStream = /^text\/event-stream\b/i.test(type) && fieldOf(head, 'content-encoding') === undefined;
  if (exchange.isGone()) answer.body.destroy();
  try {
    if (head.status >= 400) return await relayError(answer, options);
    return isStream ? await relayEvents(answer, options) : await relayBytes(answer, options);
  } catch {
    // Before anything was sent: a field that no answer may have.
    return replace(answer, options, 'the answer of the provider cannot be relayed');
  }
}

/** Server-sent events: whole ones only, so that an error can stand behind the last. */
async function relayEvents({ head, body }: ModelAnswer, options: ModelAnswerOptions): Promise<AnswerEnd> {
  const { closed, shape, limits } = options;
  const { exchange } = options.call;
  const usage: ModelUsage = {};
  const splitter = new EventSplitter(limits.modelEventBytes);
  const out = begin(exchange, head, { kind: 'open' }, options.route);
  const pumped = await pump(body, out, { closed, limits, deadlineMs: undefined }, (chunk) => {
    const events = splitter.push(chunk);
    if (events !== undefined) noteEventUsage(events, usage);
    return events;
  });
  const { problem } = pumped;
  if (!exchange.isGone()) {
    const isAnthropic = shape.protocol === 'anthropic_messages';
    out.write(problem === undefined ? splitter.rest() : errorEvent(isAnthropic, problem));
    exchange.end([]);
  }
  return ended(pumped, await closed, head, usage);
}

/** Anything else, as it comes; where it breaks off, the connection does too. */
async function relayBytes({ head, body }: ModelAnswer, options: ModelAnswerOptions): Promise<AnswerEnd> {
  const { closed, route, question, limits } = options;
  const { exchange } = options.call;
  const usage: ModelUsage = {};
  const kept: Buffer[] = [];
  let keptBytes = 0;
  const out = begin(exchange, head, head.framing, route);
  const deadlineMs = question.streams ? undefined : route.timeoutMs;
  const pumped = await pump(body, out, { closed, limits, deadlineMs }, (chunk) => {
    keptBytes += chunk.length;
    if (keptBytes <= limits.modelUsageBytes) kept.push(chunk);
    return chunk;
  });
  if (pumped.problem !== undefined) exchange.breakOff();
  else if (!exchange.isGone()) {
    if (keptBytes <= limits.modelUsageBytes) noteUsage(Buffer.concat(kept).toString('utf8'), usage);
    exchange.end([]);
  }
  return ended(pumped, await closed, head, usage);
}

/** Providers repeat keys in their errors, whole or in part: those about the key are castellan's to explain. */
async function relayError(answer: ModelAnswer, options: ModelAnswerOptions): Promise<AnswerEnd> {
  const { status } = answer.head;
  const { closed, route, limits } = options;
  const { exchange } = options.call;
  if (status === 401 || status === 403)
    return replace(answer, options, `the provider refuses the operator’s key (${status})`);
  const text = await readText(answer.body, limits);
  if (text === undefined || hasSecret(text, route) || exchange.isGone())
    return replace(answer, options, `the provider failed with ${status}`);
  const bytes = Buffer.from(text);
  const out = begin(exchange, answer.head, { kind: 'length', length: String(bytes.length) }, route);
  out.write(bytes);
  exchange.end([]);
  const outcome = outcomeOf(await closed, { bytesIn: bytes.length, bytesOut: 0, httpStatus: status });
  return { ...outcome, detail: `the provider answered ${status}`, usage: {} };
}

async function replace(
  { body }: ModelAnswer,
  { call, closed }: ModelAnswerOptions,
  detail: string,
): Promise<AnswerEnd> {
  body.destroy();
  const outcome = await answerJson(call, 502, { error: 'model_failed', detail }, closed);
  return { ...outcome, result: 'failed', detail, usage: {} };
}

function hasSecret(text: string, { secrets }: ModelRoute): boolean {
  return secrets.some((secret) => text.includes(secret));
}

async function readText(body: Readable, limits: EgressLimits): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => body.destroy(new Error('late')), limits.modelIdleMs);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > limits.modelErrorBytes) return undefined;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  } catch {
    // It broke off: there is nothing to pass on, whatever the reason.
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

function begin(
  exchange: ClientExchange,
  head: ResponseHead,
  framing: ResponseHead['framing'],
  route: ModelRoute,
): Writable {
  const fields = pairs(responseFields(head.fields))
    .filter(([name, value]) => !NOT_PASSED.includes(name.toLowerCase()) && !hasSecret(value, route))
    .flat();
  return exchange.respond({ ...head, fields, framing });
}

interface PumpOptions {
  readonly closed: Promise<boolean>;
  readonly limits: EgressLimits;
  /** For all of it; undefined where it may take as long as it moves. */
  readonly deadlineMs: number | undefined;
}

interface Pumped {
  readonly bytesIn: number;
  /** Why it broke off. */
  readonly problem: string | undefined;
}

/** Moves the body until its end. `pass` gives what goes out of each chunk; undefined where that is too much. */
async function pump(
  body: Readable,
  out: Writable,
  { closed, limits, deadlineMs }: PumpOptions,
  pass: (chunk: Buffer) => Buffer | undefined,
): Promise<Pumped> {
  let bytesIn = 0;
  let problem: string | undefined;
  let isWriting = false;
  const cut = (reason: string): void => {
    problem ??= reason;
    body.destroy();
  };
  // A client that does not read is the entrance's to give up, not a provider that is idle.
  const idle = setInterval(
    () => isWriting || cut(`nothing came for ${limits.modelIdleMs} ms`),
    limits.modelIdleMs,
  );
  const deadline =
    deadlineMs === undefined
      ? undefined
      : setTimeout(() => cut(`it took longer than ${deadlineMs} ms`), deadlineMs);
  void closed.then(() => cut('the client went away'));
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytesIn += chunk.length;
      const passed = bytesIn > limits.modelAnswerBytes ? undefined : pass(chunk);
      if (passed === undefined) cut('the answer is larger than it may be');
      else if (passed.length > 0 && !out.destroyed && !out.write(passed)) {
        isWriting = true;
        await Promise.race([new Promise((resolve) => out.once('drain', resolve)), closed]);
        isWriting = false;
      }
      idle.refresh();
    }
  } catch {
    problem ??= 'the provider broke off';
  } finally {
    clearInterval(idle);
    clearTimeout(deadline);
  }
  return { bytesIn, problem };
}

function ended(
  { bytesIn, problem }: Pumped,
  finished: boolean,
  head: ResponseHead,
  usage: ModelUsage,
): AnswerEnd {
  const outcome = outcomeOf(finished, { bytesIn, bytesOut: 0, httpStatus: head.status });
  if (problem === undefined) return { ...outcome, usage };
  return { ...outcome, result: 'failed', detail: problem, usage };
}

function fieldOf({ fields }: ResponseHead, name: string): string | undefined {
  return pairs(fields).find(([each]) => each.toLowerCase() === name)?.[1];
}
