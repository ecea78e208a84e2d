/** The origins that castellan is itself. Their requests arrive and are judged like any other; only their answers are made here. */
import type { Report } from '../../audit/event.ts';
import { type LocalService, localService } from '../../policy/local-names.ts';
import type { ClientExchange } from '../exchange.ts';
import type { EgressLimits } from '../limits.ts';
import type { ReachOptions } from '../relay/reach.ts';
import type { Arrival, Grant, Intent, Outcome, RequestContent, RequestLine } from '../stages.ts';
import { callModel } from './inference.ts';
import type { ModelRouteStore } from './model-route-store.ts';
import { createPolicyService, type PolicyServiceMeans } from './policy-service.ts';

/** One request, allowed. */
export interface LocalCall {
  readonly arrival: Arrival;
  readonly intent: Intent & { readonly http: RequestLine };
  readonly exchange: ClientExchange;
  readonly grant: Grant;
  /** As it was judged; undefined where nobody looked. */
  readonly content: RequestContent | undefined;
  /** Aborted when the client is gone or the right is lost. */
  readonly signal: AbortSignal;
}

export interface LocalMeans extends PolicyServiceMeans {
  readonly routes: ModelRouteStore;
  readonly reach: Omit<ReachOptions, 'signal' | 'check'>;
  readonly report: Report;
  readonly limits: EgressLimits;
}

export interface LocalServices {
  /** Answers one request to its end. Never rejects. */
  answer(call: LocalCall): Promise<Outcome>;
  /** Another policy is in force. */
  policyChanged(): void;
}

export function createLocalServices(means: LocalMeans): LocalServices {
  const policy = createPolicyService(means);
  const services: Readonly<Record<LocalService, (call: LocalCall) => Promise<Outcome>>> = {
    inference: (call) => callModel(call, means),
    policy: policy.answer,
  };
  return {
    policyChanged: policy.policyChanged,
    answer(call) {
      const service = localService(call.intent.host, call.intent.port);
      if (service === undefined) throw new TypeError(`${call.intent.host} is answered elsewhere`);
      return services[service](call);
    },
  };
}
