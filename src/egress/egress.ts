/** A CONNECTION: accept → identify → decide → inspect → dial → relay → record. A stage is a file or folder beside this one. */
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Report } from '../audit/event.ts';
import type { Decider } from '../policy/compile.ts';
import { checkDestination } from '../policy/destination.ts';
import { denialBody } from '../policy/reason.ts';
import { openAdapters } from './accept/adapters.ts';
import type { Listeners } from './accept/listeners.ts';
import { kernelDestination, type OriginalDestination } from './accept/transparent.ts';
import { decide, queryOf } from './decide/decide.ts';
import { createSystemResolver, type Resolver } from './decide/destination.ts';
import { createProcessQuota, type ProcessQuota } from './identify/quota.ts';
import { inspect } from './inspect/inspect.ts';
import { plainShape, type Shape } from './inspect/shape.ts';
import { createCertificateAuthority } from './intercept/authority.ts';
import { EGRESS_LIMITS, type EgressLimits } from './limits.ts';
import { reach } from './relay/reach.ts';
import { startRecord } from './report.ts';
import type { Arrival, Flow, IdentityResult, Refusal } from './stages.ts';

export interface EgressOptions {
  readonly listeners: Listeners;
  readonly decider: Decider;
  /** Never rejects. */
  readonly identify: (flow: Flow) => Promise<IdentityResult>;
  readonly report: Report;
  /** Ends everything at once; close() is the orderly way. */
  readonly signal: AbortSignal;
  /** Undefined while facts can be taken; else settles when they can be again, and new connections wait for it. */
  readonly congestion?: () => Promise<void> | undefined;
  /** PEM certificates that origins are verified by where their TLS is opened; without them, those Node brings. */
  readonly roots?: readonly string[];
  /** The rest has one right answer in a sandbox; tests give others. */
  readonly resolve?: Resolver;
  readonly check?: typeof checkDestination;
  readonly originalDestination?: OriginalDestination;
  readonly limits?: Partial<EgressLimits>;
}

export interface Egress {
  /** PEM of the certificate authority by which opened TLS is proved to clients; undefined where none is opened. */
  readonly authority: string | undefined;
  /** The bound addresses, in the order of the listeners. */
  readonly addresses: {
    readonly [Kind in keyof Listeners]: readonly { readonly address: string; readonly port: number }[];
  };
  /** Takes no new connections, waits a while for those under way, then closes the rest. */
  close(): Promise<void>;
}

/** Serves the listeners. Resolves once all of them listen. */
export async function startEgress(options: EgressOptions): Promise<Egress> {
  const limits = { ...EGRESS_LIMITS, ...options.limits };
  const house: House = {
    congestion: () => undefined,
    roots: [],
    resolve: createSystemResolver(limits),
    check: checkDestination,
    originalDestination: kernelDestination,
    ...options,
    limits,
    quota: createProcessQuota(limits.connectionsPerProcess),
    trust: trustIn(options.roots ?? []),
  };
  const authority = house.decider.inspects ? createCertificateAuthority() : undefined;
  const adapters = await openAdapters({ ...house, authority, carry: (arrival) => carry(arrival, house) });
  return { ...adapters, authority: authority?.certificatePem };
}

/** Made when first asked for: it parses every authority there is, and most runs open no TLS. */
function trustIn(roots: readonly string[]): () => SecureContext {
  let context: SecureContext | undefined;
  return () => {
    context ??= createSecureContext({ minVersion: 'TLSv1.2', ...(roots.length > 0 && { ca: [...roots] }) });
    return context;
  };
}

interface House extends Required<EgressOptions> {
  readonly limits: EgressLimits;
  readonly quota: ProcessQuota;
  readonly trust: () => SecureContext;
}

/** One connection, or one request of it, from its arrival to its record. Never rejects. */
async function carry(arrival: Arrival, house: House): Promise<void> {
  const { intent } = arrival;
  const record = startRecord(intent, house.report);
  try {
    await house.congestion();
    const identity = await house.identify(intent.flow);
    const decision = decide(house.decider, arrival, identity);
    const { identity: who, verdict } = decision.ok ? decision.grant : decision;
    const refuse = (refusal: Refusal, shape: Shape = plainShape): void => {
      record.refused(refusal, who, verdict.allow ? verdict.rule : undefined);
      if (refusal.result === 'failed') {
        arrival.refuse(refusal.status, failureBody(refusal, arrival));
        return;
      }
      const { status, body } = shape(denialBody(refusal.verdict, queryOf(arrival, identity), intent.http));
      arrival.refuse(status, body);
    };
    if (!decision.ok) return refuse({ result: 'denied', verdict: decision.verdict });
    const { grant } = decision;
    using place = house.quota.take(grant.identity);
    if (place === undefined) return refuse(TOO_MANY);
    const inspected = await inspect(arrival, grant);
    if (inspected.kind === 'denied')
      return refuse({ result: 'denied', verdict: inspected.verdict }, inspected.shape);
    if (inspected.kind === 'tunnel') {
      record.allowed(grant, undefined);
      return record.ended(await inspected.open(), grant, undefined);
    }
    if (inspected.violation !== undefined) record.violated(grant, inspected.violation);
    const reached = await reach(arrival, grant, house);
    if (!reached.ok) return refuse(reached.refusal);
    const { upstream } = reached;
    record.allowed(grant, upstream.address);
    const outcome = await arrival.relay(upstream, grant, inspected.content);
    record.ended(outcome, grant, upstream.address);
  } catch (error) {
    house.report({
      kind: 'internal-error',
      where: 'egress',
      message: error instanceof Error ? error.message : String(error),
    });
    arrival.refuse(500, { error: 'internal' });
  }
}

const TOO_MANY = {
  result: 'failed',
  status: 429,
  error: 'too_many_connections',
  detail: 'the process has as many connections open as one may have',
} as const satisfies Refusal;

function failureBody({ error, detail }: Extract<Refusal, { result: 'failed' }>, { intent }: Arrival): object {
  return { error, detail, host: intent.host, port: intent.port };
}
