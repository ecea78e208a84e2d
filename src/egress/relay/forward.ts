/** One HTTP request to its origin and the response back. Both are written anew from what was parsed: no byte passes unread. */
import type { Readable } from 'node:stream';
import type {
  ClientExchange,
  Framing,
  Origin,
  OriginFailure,
  OriginRequest,
  RequestHead,
  ResponseHead,
} from '../exchange.ts';
import type { EgressLimits } from '../limits.ts';
import type { Outcome, PlaceholderGuard } from '../stages.ts';
import { requestFields, responseFields, trailerPairs } from './headers.ts';

export interface ForwardOptions {
  readonly limits: EgressLimits;
  readonly scheme: 'http' | 'https';
  /** Host, with the port unless it is the scheme's own. */
  readonly authority: string;
  readonly path: string;
  /** Where it has been read already. */
  readonly body: Buffer | undefined;
  /** In the place of the client's own. */
  readonly fields: readonly string[] | undefined;
  readonly guard: PlaceholderGuard | undefined;
}

/** Relays one exchange to its end. Never rejects. */
export function forward(client: ClientExchange, origin: Origin, options: ForwardOptions): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const { limits, body, guard } = options;
  let httpStatus: number | undefined;
  let settled = false;
  let request: OriginRequest | undefined;
  const settle = (result: Outcome['result'], detail?: string): void => {
    if (settled) return;
    settled = true;
    request?.close();
    resolve({
      result,
      ...(request?.transferred() ?? { bytesOut: 0, bytesIn: 0 }),
      ...(result === 'denied' && { reason: 'credential_endpoint_mismatch' as const }),
      ...(detail !== undefined && { detail }),
      ...(httpStatus !== undefined && { httpStatus }),
    });
  };
  const fail = ({ status, error, detail, isStale }: OriginFailure): void => {
    if (settled) return;
    httpStatus ??= status;
    settle('failed', detail);
    if (isStale && !client.hasBegun()) client.breakOff();
    else client.refuse(status, { error, detail });
  };
  const denied = (detail: string): void => {
    if (settled) return;
    httpStatus ??= 403;
    settle('denied', detail);
    client.refuse(403, { error: 'policy_denied', reason: 'credential_endpoint_mismatch', detail });
  };
  const failed = (detail: string): void =>
    fail({ status: 502, error: 'upstream_failed', detail, isStale: false });
  client.onClose((finished) => (finished ? settle('closed') : settle('failed', 'the client went away')));
  if (client.isGone()) {
    settle('failed', 'the client went away');
    return promise;
  }
  let interimLeft = limits.interimResponses;
  request = origin.ask(headOf(client, options), {
    interim(status, link) {
      interimLeft -= 1;
      if (interimLeft < 0) failed('too many interim responses');
      else if (!client.isGone() && !client.hasBegun()) client.interim(status, link);
    },
    response(head, incoming, trailers) {
      if (settled) return;
      httpStatus = head.status;
      try {
        answer(client, head, incoming, trailers);
      } catch (error) {
        failed(error instanceof Error ? error.message : 'the response cannot be relayed');
      }
    },
    failed: fail,
  });
  if (request === undefined) return promise;
  if (body === undefined) sendBody(client, request, guard, denied);
  else {
    if (body.length > 0) request.body.write(body);
    request.end([]);
  }
  return promise;
}

function headOf(
  client: ClientExchange,
  { scheme, authority, path, body, fields = client.fields }: ForwardOptions,
): RequestHead {
  const { method, framing, headers } = client;
  return {
    method,
    scheme,
    authority,
    path,
    fields: requestFields(fields, body !== undefined),
    framing: body === undefined ? framing : framingOf(body, framing),
    takesTrailers: headers['te'] === 'trailers',
  };
}

function framingOf({ length }: Buffer, sent: Framing): Framing {
  if (length > 0) return { kind: 'length', length: String(length) };
  return sent.kind === 'open' ? { kind: 'none' } : sent;
}

function sendBody(
  client: ClientExchange,
  request: OriginRequest,
  guard: PlaceholderGuard | undefined,
  denied: (detail: string) => void,
): void {
  const stream = client.framing.kind === 'none' ? undefined : guard?.stream();
  const guarded = stream?.once('error', (error) => denied(error.message));
  const body = guarded === undefined ? client.body : client.body.pipe(guarded);
  body.pipe(request.body, { end: false });
  body.once('end', () => {
    const trailers = trailerPairs(client.trailers());
    const flaw = guard?.trailerFlaw(trailers);
    if (flaw === undefined) request.end(trailers);
    else denied(flaw);
  });
}

function answer(
  client: ClientExchange,
  head: ResponseHead,
  incoming: Readable,
  trailers: () => readonly string[],
): void {
  const body = client.respond({ ...head, fields: responseFields(head.fields) });
  incoming.pipe(body, { end: false });
  incoming.once('end', () => client.end(trailerPairs(trailers())));
}
