/** Connections that the policy has let through. When it changes each is judged again, and what lost its right is closed. */
import type { Decider } from '../../policy/compile.ts';
import type { checkDestination } from '../../policy/destination.ts';
import type { CredentialUse, InspectedProtocol } from '../../policy/document.ts';
import type { Route } from '../../policy/judge.ts';
import type { RequestFacts } from '../../policy/request.ts';
import type { DenyVerdict } from '../../policy/verdict.ts';
import type { Arrival, Grant } from '../stages.ts';
import { decide } from './decide.ts';

/** As what a connection was let through: unread, opened for the requests in it, or as one request that was read as `facts`: all of them have to be allowed. */
export type Admission =
  | { readonly kind: 'unread' }
  | { readonly kind: 'opened' }
  | {
      readonly kind: 'request';
      readonly protocol: InspectedProtocol;
      readonly facts: readonly [RequestFacts, ...RequestFacts[]];
      /** Told what judges from now on. */
      readonly renew?: (route: Route) => void;
    };

export interface LiveConnection extends Disposable {
  /** Aborted when the client is gone or the right is lost. */
  readonly signal: AbortSignal;
  /** Why the right is lost. */
  readonly lost: DenyVerdict | undefined;
  /** Undefined until it has been inspected. */
  admission: Admission | undefined;
  /** Set where credentials are in it: why they may not be, by what the policy says of them now. */
  credentialFlaw: ((use: CredentialUse | undefined) => DenyVerdict | undefined) | undefined;
  /** Undefined until it is known. */
  address: string | undefined;
  /** What is known by now, judged by a policy that may have come since; gives why the right is lost, if it is. */
  recheck(): DenyVerdict | undefined;
}

/** Connections and requests under way, by how far they have come. */
export interface LiveFigures {
  /** Let through, and not yet inspected. */
  readonly liveArriving: number;
  readonly liveUnread: number;
  readonly liveOpened: number;
  readonly liveRequests: number;
}

export interface LiveConnections {
  /** Always that in force. */
  readonly decider: Decider;
  enter(arrival: Arrival, grant: Grant): LiveConnection;
  /** Puts another policy in force at once, and gives how many connections that ended. */
  replace(decider: Decider): number;
  /** Settles once there is none any more, or after `ms`. */
  emptied(ms: number): Promise<void>;
  figures(): LiveFigures;
}

export function createLiveConnections(first: Decider, check: typeof checkDestination): LiveConnections {
  let current = first;
  const live = new Set<LiveConnection>();
  let onEmpty = (): void => {};
  return {
    decider: {
      decide: (query) => current.decide(query),
      mayName: (host) => current.mayName(host),
      get rules() {
        return current.rules;
      },
      get now() {
        return current.now;
      },
      get inspects() {
        return current.inspects;
      },
    },
    enter(arrival, { identity, verdict }) {
      const revoked = new AbortController();
      const grantedBy = current;
      let lost: DenyVerdict | undefined;
      const connection: LiveConnection = {
        signal: AbortSignal.any([arrival.signal, revoked.signal]),
        get lost() {
          return lost;
        },
        admission: undefined,
        credentialFlaw: undefined,
        address: undefined,
        recheck() {
          // What has become known since the last time has been judged by the policy of the grant alone.
          if (lost !== undefined || grantedBy === current) return lost;
          const decision = decide(current, arrival, { ok: true, identity });
          lost = decision.ok
            ? (lostTrust(arrival, verdict, decision.grant) ??
              lostSecrecy(connection.admission, arrival, verdict, decision.grant) ??
              lostRight(connection, arrival, decision.grant, check))
            : decision.verdict;
          if (lost !== undefined) revoked.abort();
          return lost;
        },
        [Symbol.dispose]() {
          live.delete(connection);
          if (live.size === 0) onEmpty();
        },
      };
      live.add(connection);
      return connection;
    },
    replace(decider) {
      current = decider;
      return [...live].filter((connection) => connection.recheck() !== undefined).length;
    },
    async emptied(ms) {
      if (live.size === 0) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      onEmpty = resolve;
      await promise;
      clearTimeout(timer);
    },
    figures() {
      const count = (kind: Admission['kind'] | undefined): number =>
        [...live].filter(({ admission }) => admission?.kind === kind).length;
      return {
        liveArriving: count(undefined),
        liveUnread: count('unread'),
        liveOpened: count('opened'),
        liveRequests: count('request'),
      };
    },
  };
}

/** What was verified by one authority is not what another would have let through. */
function lostTrust(
  { intent }: Arrival,
  before: Grant['verdict'],
  { verdict: { tlsAuthority, rule: nearest } }: Grant,
): DenyVerdict | undefined {
  if (intent.http?.scheme !== 'https' || before.tlsAuthority?.digest === tlsAuthority?.digest)
    return undefined;
  const detail = 'the origin has to be certified by another authority now';
  return { allow: false, reason: 'address_not_allowed', detail, nearest };
}

/** What a tunnel began with was looked at by what the policy said then. */
function lostSecrecy(
  admission: Admission | undefined,
  { request }: Arrival,
  before: Grant['verdict'],
  { verdict: { allowsEncryptedHello, protocol, rule: nearest } }: Grant,
): DenyVerdict | undefined {
  if (request !== undefined || admission?.kind !== 'unread') return undefined;
  const isRaw = before.protocol === 'tcp' && protocol !== 'tcp';
  if (!isRaw && (allowsEncryptedHello || !before.allowsEncryptedHello)) return undefined;
  const detail = isRaw
    ? 'it was let through as raw TCP, and is to be looked at now'
    : 'it was let through where TLS may hide a name, and may do so no more';
  return { allow: false, reason: 'name_mismatch', detail, nearest };
}

function lostRight(
  { admission, address, credentialFlaw }: Pick<LiveConnection, 'admission' | 'address' | 'credentialFlaw'>,
  { intent }: Arrival,
  { verdict }: Grant,
  check: typeof checkDestination,
): DenyVerdict | undefined {
  const { requests, rule: nearest } = verdict;
  if (address !== undefined) {
    const checked = check(verdict, intent.host, intent.port, [address]);
    if (!checked.ok) return { allow: false, reason: 'address_not_allowed', detail: checked.detail, nearest };
  }
  if (requests === undefined) return credentialFlaw?.(verdict.credentials);
  if (admission === undefined || admission.kind === 'opened') return undefined;
  const uninspected = (detail: string): DenyVerdict => ({
    allow: false,
    reason: 'protocol_not_inspected',
    detail,
    nearest,
  });
  if (admission.kind === 'unread')
    return uninspected('requests to this destination are inspected now, and this was let through unread');
  const { protocol, facts } = admission;
  const route = requests.route(facts[0].path);
  if (!('judge' in route)) return { ...route, nearest };
  if (route.protocol !== protocol)
    return uninspected(`the request was read as ${protocol}, and is to be read as ${route.protocol} now`);
  if (protocol === 'websocket' && route.speaksGraphql !== (admission.renew !== undefined))
    return uninspected('what is said over the WebSocket is to be read in another way now');
  const lost = facts.map(route.judge).find((judged) => !judged.allow) ?? credentialFlaw?.(route.credentials);
  if (lost === undefined) admission.renew?.(route);
  return lost;
}
