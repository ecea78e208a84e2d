/** Where requests to castellan's own names leave the flow. What answers them costs a while to load: it is, when first asked. */
import { localService } from '../../policy/local-names.ts';
import type { Arrival, Grant, Outcome, Refusal, RequestContent } from '../stages.ts';
import type { LocalMeans, LocalServices } from './local.ts';

export type LocalApproach =
  | { readonly ok: true; readonly relay: () => Promise<Outcome> }
  | { readonly ok: false; readonly refusal: Refusal };

export interface LocalOpener {
  /** How the request is answered here; undefined for all that has an origin elsewhere. */
  approach(
    arrival: Arrival,
    grant: Grant,
    content: RequestContent | undefined,
    signal: AbortSignal,
  ): Promise<LocalApproach | undefined>;
  /** Another policy is in force. */
  policyChanged(): void;
}

export function openLocalServices(means: () => LocalMeans): LocalOpener {
  let services: Promise<LocalServices> | undefined;
  const load = async (): Promise<LocalServices> => {
    const { createLocalServices } = await import('./local.ts');
    return createLocalServices(means());
  };
  return {
    async approach(arrival, grant, content, signal) {
      const { intent, exchange } = arrival;
      const { http } = intent;
      if (localService(intent.host, intent.port) === undefined) return undefined;
      if (exchange === undefined || http === undefined) return { ok: false, refusal: notHttp(grant) };
      services ??= load();
      const { answer } = await services;
      const call = { arrival, exchange, grant, content, signal, intent: { ...intent, http } };
      return { ok: true, relay: () => answer(call) };
    },
    policyChanged() {
      void services?.then(({ policyChanged }) => policyChanged());
    },
  };
}

function notHttp({ verdict }: Grant): Refusal {
  const detail = 'castellan answers HTTP requests here, and nothing else';
  return {
    result: 'denied',
    verdict: { allow: false, reason: 'protocol_not_inspected', detail, nearest: verdict.rule },
  };
}
