/** Answers that castellan makes itself, and what became of them. */
import { STATUS_CODES } from 'node:http';
import type { ClientExchange } from '../exchange.ts';
import type { Outcome } from '../stages.ts';
import type { LocalCall } from './local.ts';

/** Settles when the exchange is over: true where the answer went out to its end. */
export function untilClosed(exchange: ClientExchange): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  exchange.onClose(resolve);
  if (exchange.isGone()) resolve(false);
  return promise;
}

/** One whole answer, and its outcome. */
export async function answerWhole(
  exchange: ClientExchange,
  status: number,
  type: string,
  text: string,
  closed: Promise<boolean>,
): Promise<Outcome> {
  const bytes = Buffer.from(text);
  // Where the right was lost meanwhile, the client has been told.
  if (!exchange.isGone() && !exchange.hasBegun()) {
    const out = exchange.respond({
      status,
      reason: STATUS_CODES[status] ?? '',
      fields: ['Content-Type', type, 'Cache-Control', 'no-store'],
      framing: { kind: 'length', length: String(bytes.length) },
    });
    if (exchange.method !== 'HEAD') out.write(bytes);
    exchange.end([]);
  }
  return outcomeOf(await closed, { httpStatus: status, bytesIn: bytes.length, bytesOut: 0 });
}

/** The same for a value as JSON. */
export async function answerJson(
  { exchange, arrival }: Pick<LocalCall, 'exchange' | 'arrival'>,
  status: number,
  value: object,
  closed: Promise<boolean>,
): Promise<Outcome> {
  if (!exchange.isComplete() && !exchange.hasBegun()) {
    // The rest of its request may still be coming: the client is heard out, so that it can read the answer.
    arrival.refuse(status, value);
    return outcomeOf(await closed, { httpStatus: status, bytesIn: 0, bytesOut: 0 });
  }
  return answerWhole(exchange, status, 'application/json', `${JSON.stringify(value)}\n`, closed);
}

export function outcomeOf(
  finished: boolean,
  facts: Pick<Outcome, 'bytesIn' | 'bytesOut' | 'httpStatus'>,
): Outcome {
  return finished
    ? { ...facts, result: 'closed' }
    : { ...facts, result: 'failed', detail: 'the client went away' };
}
