/** The stage between a judged request and its dial: secrets take the place of placeholders, for their own endpoints only. */
import { mentionsPlaceholder } from '../../credential/placeholder.ts';
import { REDACTED } from '../../credential/redact.ts';
import type { CredentialStore, Destination } from '../../credential/store.ts';
import {
  concealTarget,
  type Resolve,
  SubstitutionError,
  substituteFields,
  substituteTarget,
} from '../../credential/substitute.ts';
import type { CredentialUse } from '../../policy/document.ts';
import { localService } from '../../policy/local-names.ts';
import type { DenyVerdict } from '../../policy/verdict.ts';
import type { Inspected } from '../inspect/inspect.ts';
import { type ReadTarget, readTarget } from '../inspect/path.ts';
import type { EgressLimits } from '../limits.ts';
import type { Arrival, InspectableRequest, Refusal, RequestContent } from '../stages.ts';
import { rewriteBody } from './body.ts';
import { bodyFlaw, createGuard } from './guard.ts';

/** What may go on. */
type Passed = Exclude<Inspected, { kind: 'denied' }>;

export type Injected =
  | {
      readonly ok: true;
      readonly inspected: Passed;
      /** Names of the credentials that are in it. */
      readonly used: ReadonlySet<string>;
      /** Why they may not be in it, by what a later policy says. */
      readonly flaw: ((use: CredentialUse | undefined) => DenyVerdict | undefined) | undefined;
    }
  | { readonly ok: false; readonly refusal: Refusal };

export interface InjectOptions {
  readonly credentials: CredentialStore;
  readonly hasCredentials: boolean;
  readonly limits: EgressLimits;
}

/** A request under way, and what may be put into it. */
export interface Injection {
  readonly request: InspectableRequest;
  readonly use: CredentialUse | undefined;
  readonly destination: Destination;
  readonly credentials: CredentialStore;
  readonly limits: EgressLimits;
  /** Notes what is used. */
  readonly resolve: Resolve;
  /** Whether it hung on the path that something may be put in. */
  readonly isPathBound: () => boolean;
}

/** Why a request goes no further, in the terms of the flow. */
export class InjectionRefused extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super();
    this.refusal = refusal;
  }
}

/** `arrival` as it came: what was judged had no placeholder in it. Never rejects for anything a client may send. */
export async function inject(arrival: Arrival, inspected: Passed, options: InjectOptions): Promise<Injected> {
  const { request } = arrival;
  const used = new Set<string>();
  if (
    request === undefined ||
    inspected.kind === 'tunnel' ||
    // What is answered here takes no secrets, and passes no keys of its clients on.
    localService(arrival.intent.host, arrival.intent.port) !== undefined ||
    (!options.hasCredentials && inspected.credentials === undefined)
  )
    return { ok: true, inspected, used, flaw: undefined };
  const injection = begin(arrival, request, inspected.credentials, options, used);
  try {
    const content = await rewrite(injection, inspected.content, arrival);
    const flaw = laterFlaw(injection, used, arrival.intent.http?.scheme !== 'https');
    return { ok: true, inspected: { ...inspected, content }, used, flaw };
  } catch (error) {
    if (error instanceof InjectionRefused) return { ok: false, refusal: error.refusal };
    if (error instanceof SubstitutionError) return { ok: false, refusal: refusalOf(error, inspected.rule) };
    throw error;
  }
}

function begin(
  { intent }: Arrival,
  request: InspectableRequest,
  use: CredentialUse | undefined,
  { credentials, limits }: InjectOptions,
  used: Set<string>,
): Injection {
  const { host, port, http } = intent;
  let read: ReadTarget | undefined;
  const destination: Destination = {
    host,
    port,
    provider: use?.provider,
    paths() {
      read ??= readTarget(concealTarget(request.target, REDACTED), { encodedSlash: true });
      return read.ok ? read.path.deny : undefined;
    },
  };
  const resolve: Resolve = (placeholder, place) => {
    const found = credentials.resolve(placeholder, destination, place);
    if (!found.ok) throw new SubstitutionError(found.problem, found.detail);
    if (http?.scheme !== 'https') refuseCleartext(use, found.name);
    // RFC 9110 §9.3.8: the answer is the request, secrets included.
    if (request.method === 'TRACE')
      throw new SubstitutionError('unbound', `a TRACE request would bring ${found.name} back`);
    used.add(found.name);
    return found.value;
  };
  return { request, use, destination, credentials, limits, resolve, isPathBound: () => read !== undefined };
}

function refuseCleartext(use: CredentialUse | undefined, what: string): void {
  if (!use?.allowCleartext)
    throw new SubstitutionError(
      'unbound',
      `${what} goes only into TLS, and this is plain HTTP (allow_cleartext_credentials)`,
    );
}

async function rewrite(
  injection: Injection,
  content: RequestContent | undefined,
  { intent: { http } }: Arrival,
): Promise<RequestContent | undefined> {
  const { request, use, resolve } = injection;
  if (use?.clientCertificate !== undefined && http?.scheme !== 'https')
    throw new SubstitutionError('unbound', 'the endpoint takes a client certificate, and this is plain HTTP');
  const flaw = content?.body && bodyFlaw(injection, content.body);
  if (flaw !== undefined) throw new SubstitutionError('unbound', flaw);
  if (use?.signing !== undefined) {
    // The library costs a while to load, which runs without signatures need not pay.
    const { sign } = await import('./sign.ts');
    return await sign(injection, use.signing, content);
  }
  const fields = substituteFields(request.fields, resolve);
  const body = content?.body ?? (await rewriteBody(injection));
  // After all that may ask for the path.
  const target = rewriteTarget(injection, request.target, content);
  return {
    ...content,
    target,
    body,
    ...(fields !== request.fields && { fields }),
    ...(body === undefined && { guard: createGuard(injection) }),
  };
}

/**
 * What was judged had the placeholders concealed, so one with placeholders is read once more. It goes out in the form that was
 * judged, also where only credentials asked for the path or where messages may ask for it later.
 */
export function rewriteTarget(
  { request, use, resolve, isPathBound }: Injection,
  target: string,
  content: RequestContent | undefined,
): string {
  const hasPlaceholder = mentionsPlaceholder(target);
  if (!hasPlaceholder && content !== undefined) return content.target;
  const mayAskLater = request.isWebSocket && use?.rewriteWebSocket;
  if (!hasPlaceholder && !isPathBound() && !mayAskLater) return target;
  const read = readTarget(target, { encodedSlash: true });
  if (!read.ok) throw new SubstitutionError('unavailable', read.detail);
  return substituteTarget(read.forward, resolve);
}

/** A policy that takes a binding away ends what goes on with its secrets. */
function laterFlaw(
  { request, use, destination, credentials }: Injection,
  used: ReadonlySet<string>,
  isCleartext: boolean,
): Extract<Injected, { ok: true }>['flaw'] {
  const certificate = use?.clientCertificate;
  return (later) => {
    const now = { ...destination, provider: later?.provider };
    const lost = [...used].find((name) => !credentials.mayUse(name, now));
    if (lost !== undefined) return mismatch(`the credential ${lost} is not bound to this endpoint any more`);
    if (used.size > 0 && isCleartext && !later?.allowCleartext)
      return mismatch('credentials do not go to this endpoint without TLS any more');
    if (later?.clientCertificate !== certificate)
      return mismatch('the client certificate is not that of this endpoint any more');
    // Its next message would be rewritten by what was bound before.
    const goesOn = request.isWebSocket && use?.rewriteWebSocket;
    const losesCleartext = isCleartext && use?.allowCleartext && !later?.allowCleartext;
    return goesOn && (!later?.rewriteWebSocket || later.provider !== use.provider || losesCleartext)
      ? mismatch('messages are not rewritten at this endpoint any more')
      : undefined;
  };
}

function refusalOf({ problem, message }: SubstitutionError, rule: string): Refusal {
  if (problem === 'unbound') return { result: 'denied', verdict: mismatch(message, rule) };
  return { result: 'failed', status: 500, error: 'credential_unavailable', detail: message };
}

function mismatch(detail: string, nearest?: string): DenyVerdict {
  return { allow: false, reason: 'credential_endpoint_mismatch', detail, nearest };
}
