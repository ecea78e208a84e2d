/** A CONNECTION: accept → identify → decide → dial → relay → record. A stage is a file or folder beside this one. */
import type { Report } from '../audit/event.ts';
import type { Decider } from '../policy/compile.ts';
import { checkDestination } from '../policy/destination.ts';
import { denialBody } from '../policy/reason.ts';
import { openAdapters } from './accept/adapters.ts';
import type { Listeners } from './accept/listeners.ts';
import { kernelDestination, type OriginalDestination } from './accept/transparent.ts';
import { decide, queryOf } from './decide/decide.ts';
import { approveDestination, createSystemResolver, type Resolver } from './decide/destination.ts';
import { createProcessQuota, type ProcessQuota } from './identify/quota.ts';
import { EGRESS_LIMITS, type EgressLimits } from './limits.ts';
import { dial } from './relay/dial.ts';
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
  /** The rest has one right answer in a sandbox; tests give others. */
  readonly resolve?: Resolver;
  readonly check?: typeof checkDestination;
  readonly originalDestination?: OriginalDestination;
  readonly limits?: Partial<EgressLimits>;
}

export interface Egress {
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
    resolve: createSystemResolver(limits),
    check: checkDestination,
    originalDestination: kernelDestination,
    ...options,
    limits,
    quota: createProcessQuota(limits.connectionsPerProcess),
  };
  return openAdapters({ ...house, carry: (arrival) => carry(arrival, house) });
}

type House = Required<EgressOptions> & { readonly limits: EgressLimits; readonly quota: ProcessQuota };

/** One connection, or one request of it, from its arrival to its record. Never rejects. */
async function carry(arrival: Arrival, house: House): Promise<void> {
  const { intent, signal } = arrival;
  const record = startRecord(intent, house.report);
  try {
    await house.congestion();
    const identity = await house.identify(intent.flow);
    const decision = decide(house.decider, arrival, identity);
    const { identity: who, verdict } = decision.ok ? decision.grant : decision;
    const refuse = (refusal: Refusal): void => {
      record.refused(refusal, who, verdict.allow ? verdict.rule : undefined);
      if (refusal.result === 'failed') arrival.refuse(refusal.status, failureBody(refusal, arrival));
      else arrival.refuse(403, denialBody(refusal.verdict, queryOf(arrival, identity)));
    };
    if (!decision.ok) return refuse({ result: 'denied', verdict: decision.verdict });
    using place = house.quota.take(decision.grant.identity);
    if (place === undefined) return refuse(TOO_MANY);
    const destination = await approveDestination(intent, decision.grant, house);
    if (!destination.ok) return refuse(destination.refusal);
    const upstream = await dial(destination.addresses, { signal, limits: house.limits });
    if (!upstream.ok) return refuse(upstream.refusal);
    record.allowed(decision.grant, upstream.address);
    const outcome = await arrival.relay(upstream.socket, decision.grant);
    record.ended(outcome, decision.grant, upstream.address);
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
