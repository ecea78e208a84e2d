import type { Decider } from '../../policy/compile.ts';
import { localPort } from '../../policy/local-names.ts';
import type { DenyVerdict, Query } from '../../policy/verdict.ts';
import type { Arrival, Decision, IdentityResult } from '../stages.ts';

/** What the policy is asked about a connection; a process that is not known stands for no binary. */
export function queryOf({ intent }: Pick<Arrival, 'intent'>, identity: IdentityResult): Query {
  const binaries = identity.ok ? [identity.identity.executable, ...identity.identity.ancestors] : [];
  return { host: intent.host, port: intent.port, binaries };
}

/** The one decision. Without an identity nothing is granted, and the record says why there is none. */
export function decide(
  decider: Pick<Decider, 'decide'>,
  arrival: Pick<Arrival, 'intent' | 'objection'>,
  identity: IdentityResult,
): Decision {
  const who = identity.ok ? identity.identity : undefined;
  const deny = (verdict: DenyVerdict): Decision => ({ ok: false, verdict, identity: who });
  if (arrival.objection !== undefined)
    return deny({ allow: false, nearest: undefined, ...arrival.objection });
  const verdict = decider.decide(queryOf(arrival, identity));
  const { host } = arrival.intent;
  // A rule without a host is about whatever has certain addresses, and these names have none.
  if (verdict.allow && !verdict.exactHost && localPort(host) !== undefined)
    return deny({
      allow: false,
      reason: 'host_not_listed',
      detail: `no rule names ${host}, which castellan answers itself`,
      nearest: verdict.rule,
    });
  if (identity.ok && verdict.allow) return { ok: true, grant: { verdict, identity: identity.identity } };
  if (verdict.allow) return deny(unidentified(identity, '', verdict.rule));
  return deny(
    verdict.reason === 'identity_unknown'
      ? unidentified(identity, `${verdict.detail}: `, verdict.nearest)
      : verdict,
  );
}

function unidentified(identity: IdentityResult, detail: string, nearest: string | undefined): DenyVerdict {
  const why = identity.ok ? 'its executable is unknown' : identity.reason;
  return { allow: false, reason: 'identity_unknown', detail: `${detail}${why}`, nearest };
}
