/** What of credentials has to be known before a request is judged. */
import { REDACTED } from '../../credential/redact.ts';
import type { CredentialStore } from '../../credential/store.ts';
import { concealTarget, SubstitutionError } from '../../credential/substitute.ts';
import { opensTls } from '../../policy/credential-use.ts';
import type { Arrival, Grant } from '../stages.ts';

/** The arrival as the policy and the records see it: placeholders in the target are no words that a rule could be about. */
export function conceal(arrival: Arrival): Arrival {
  const { request, intent } = arrival;
  if (request === undefined || intent.http === undefined) return arrival;
  const target = concealed(request.target);
  if (target === request.target) return arrival;
  const path = target.split('?', 1)[0] ?? '';
  return {
    ...arrival,
    request: { ...request, target },
    intent: { ...intent, http: { ...intent.http, path } },
  };
}

/** One that cannot be read is refused where it is read for its secrets. */
function concealed(target: string): string {
  try {
    return concealTarget(target, REDACTED);
  } catch (error) {
    if (error instanceof SubstitutionError) return target;
    throw error;
  }
}

/** Whether TLS is opened for credentials; a policy that leaves it closed wins over a credential that names the destination. */
export function opensFor({ credentials }: { readonly credentials: CredentialStore }) {
  return ({ intent: { host, port } }: Arrival, { verdict }: Grant): boolean =>
    opensTls({ credentials: verdict.credentials }) || (!verdict.skipsTls && credentials.opens(host, port));
}
