import { isDeepStrictEqual } from 'node:util';
import { ANY_PROGRAM, ANY_PROGRAM_PATH } from '../../policy/any-program.ts';
import type { Decider } from '../../policy/compile.ts';
import { jointPolicy, sharedPolicy } from '../../policy/judge.ts';
import { localPort } from '../../policy/local-names.ts';
import type { AllowVerdict, DenyVerdict, Query, Verdict } from '../../policy/verdict.ts';
import type { Arrival, Caller, Decision, Identity, IdentityResult } from '../stages.ts';

/** What the policy is asked about a connection; a process that is not known stands for no binary, nor does an ancestor that is not trusted. */
export function queryOf({ intent }: Pick<Arrival, 'intent'>, identity: IdentityResult): Query {
  const { host, port } = intent;
  if (!identity.ok) return { host, port, binaries: [] };
  if (identity.identity === ANY_PROGRAM) return { host, port, binaries: [ANY_PROGRAM_PATH] };
  const { executable, sha256, ancestors, ancestorHashes } = identity.identity;
  const isTrusted = (_: string, index: number): boolean => ancestorHashes[index] !== '';
  return {
    host,
    port,
    binaries: [executable, ...ancestors.filter(isTrusted)],
    hashes: [sha256, ...ancestorHashes.filter(isTrusted)],
  };
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
  const ask = (one: IdentityResult): Verdict => decider.decide(queryOf(arrival, one));
  const verdict = heirsOf(who).reduce(
    (sofar, heir) => (sofar.allow ? together(sofar, ask({ ok: true, identity: heir })) : sofar),
    ask(identity),
  );
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

function heirsOf(who: Caller | undefined): readonly Identity[] {
  return who === undefined || who === ANY_PROGRAM ? [] : (who.heirs ?? []);
}

/** The right of the eldest who holds a connection, as far as a descendant who holds it too has it. */
function together(eldest: AllowVerdict, heir: Verdict): Verdict {
  if (!heir.allow) return heir;
  const { rule: nearest, requests } = eldest;
  const sameReach =
    isDeepStrictEqual(heir.allowedIps, eldest.allowedIps) &&
    heir.exactHost === eldest.exactHost &&
    isDeepStrictEqual(heir.tlsAuthority, eldest.tlsAuthority) &&
    heir.allowsEncryptedHello === eldest.allowsEncryptedHello &&
    isDeepStrictEqual(heir.credentials, eldest.credentials) &&
    heir.skipsTls === eldest.skipsTls &&
    (heir.protocol === eldest.protocol || heir.requests !== undefined);
  if (!sameReach)
    return {
      allow: false,
      reason: 'binary_not_listed',
      detail: `programs share the connection, and rules "${nearest}" and "${heir.rule}" treat it in two ways`,
      nearest,
    };
  if (requests && heir.requests) return { ...eldest, requests: jointPolicy(requests, heir.requests) };
  const inspected = requests ?? heir.requests;
  return inspected ? { ...eldest, requests: sharedPolicy(inspected, eldest.credentials) } : eldest;
}

function unidentified(identity: IdentityResult, detail: string, nearest: string | undefined): DenyVerdict {
  const why = identity.ok ? 'its executable is unknown' : identity.reason;
  return { allow: false, reason: 'identity_unknown', detail: `${detail}${why}`, nearest };
}
