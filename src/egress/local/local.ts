import { type LocalService, localService } from '../../policy/local-names.ts';
import type { ClientExchange } from '../exchange.ts';
import type { Arrival, Grant, Intent, Outcome, RequestContent, RequestLine } from '../stages.ts';
import { callModel, type InferenceMeans } from './inference.ts';
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

export interface LocalMeans extends PolicyServiceMeans, InferenceMeans {}

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
