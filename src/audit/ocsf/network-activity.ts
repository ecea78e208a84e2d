import type { AuditFact } from '../event.ts';
import type { AuditContext, EventParts, Stamp } from './base.ts';
import {
  actorOf,
  connectionInfo,
  endpoint,
  flowOf,
  integer,
  observables,
  peerEndpoint,
  requestUrl,
  ruleOf,
  spanOf,
  tlsOf,
  trafficOf,
  userOf,
} from './objects.ts';

type ConnectionFact = Extract<AuditFact, { kind: `connection-${string}` }>;
type CountedFact = Extract<AuditFact, { kind: 'denials-counted' }>;
type ControlFact = Extract<AuditFact, { kind: 'control-refused' }>;
type BypassFact = Extract<AuditFact, { kind: 'bypass-refused' }>;

/** Network Activity [4001]: connections opened, refused, failed and closed. */
export function networkActivity(fact: ConnectionFact, stamp: Stamp, context: AuditContext): EventParts {
  const { intent, identity, rule } = fact;
  const { http } = intent;
  const body = {
    ...flowOf(intent, 'address' in fact ? fact.address : undefined),
    url: http && requestUrl(intent, http),
    actor: actorOf(identity, context),
  };
  const unmapped = { adapter: intent.adapter, http_method: http?.method, inspected: http?.inspected };
  const parts = { class: 'network', correlation: intent.connectionId, unmapped } as const;
  const target = `${intent.host}:${intent.port}`;
  if (fact.kind === 'connection-denied')
    return {
      ...parts,
      activity: 5,
      severity: 3,
      success: false,
      action: 'denied',
      code: fact.reason,
      detail: fact.detail,
      message: `${target} denied: ${fact.reason}`,
      body,
      // It did not decide: it only came near.
      unmapped: { ...unmapped, nearest_rule: rule },
    };
  const ruled = { ...parts, body: { ...body, firewall_rule: ruleOf(rule) } };
  switch (fact.kind) {
    case 'connection-allowed': {
      const { body, unmapped: path } = originPath(ruled, fact);
      return {
        ...ruled,
        body,
        activity: 1,
        severity: 1,
        success: true,
        action: 'allowed',
        message: `${target} allowed by ${rule}`,
        unmapped: {
          ...path,
          // Nothing was dialled: its requests are.
          opened: isOpened(fact) ? true : undefined,
          credentials: fact.credentials,
        },
      };
    }
    case 'connection-failed':
      return {
        ...ruled,
        activity: 4,
        severity: 2,
        success: false,
        detail: fact.detail,
        message: `${target} failed`,
      };
    case 'connection-closed': {
      const { bytesIn, bytesOut, durationMs } = fact;
      return {
        ...ruled,
        activity: 2,
        severity: 1,
        success: true,
        message: `${target} closed, ${bytesOut} bytes out, ${bytesIn} in`,
        body: { ...ruled.body, traffic: trafficOf(bytesIn, bytesOut), ...spanOf(durationMs, stamp) },
      };
    }
  }
}

/** A request without an address is answered by castellan, or reached by a proxy that was told the name. */
function isOpened({
  address,
  proxy,
  intent,
}: Extract<ConnectionFact, { kind: 'connection-allowed' }>): boolean {
  return address === undefined && proxy === undefined && intent.http === undefined;
}

/** The operator's proxy on the way to the destination, and the TLS that was agreed with it. */
function originPath(
  { body, unmapped }: Pick<EventParts, 'body' | 'unmapped'>,
  { proxy, tls }: Extract<ConnectionFact, { kind: 'connection-allowed' }>,
): Pick<EventParts, 'body' | 'unmapped'> {
  const destination = body['dst_endpoint'] as object;
  const hop = proxy && {
    ...endpoint({ address: proxy.host, port: proxy.port }),
    svc_name: 'upstream-proxy',
  };
  return {
    body: { ...body, dst_endpoint: { ...destination, proxy_endpoint: hop }, tls: tls && tlsOf(tls) },
    unmapped: { ...unmapped, tls_resumed: tls?.isResumed },
  };
}

/** Network Activity [4001]: how much was refused within a while, by destination and program. */
export function countedDenials(
  { since, total, unlisted, denials }: CountedFact,
  { time }: Stamp,
): EventParts {
  return {
    class: 'network',
    activity: 5,
    severity: 1,
    success: false,
    action: 'denied',
    message: `${total} refusals of ${denials.length} destinations and programs${unlisted > 0 ? `, and ${unlisted} of others` : ''}`,
    body: {
      src_endpoint: { name: 'sandbox' },
      count: integer(total),
      start_time: Math.min(since, time),
      end_time: time,
      duration: Math.max(time - since, 0),
    },
    unmapped: { unlisted, denials },
  };
}

/** Network Activity [4001]: a packet that tried to go around the listeners. */
export function bypassActivity(fact: BypassFact, context: AuditContext): EventParts {
  const { protocol, source, destination, uid } = fact;
  const family = destination.address.includes(':') ? 6 : 4;
  const dst = endpoint(destination);
  return {
    class: 'network',
    activity: 5,
    severity: 3,
    success: false,
    action: 'denied',
    code: 'bypass_refused',
    detail: 'only TCP leaves the sandbox, through the proxy',
    message: `IP protocol ${protocol} to ${destination.address} port ${destination.port} refused`,
    body: {
      src_endpoint: endpoint(source),
      dst_endpoint: dst,
      connection_info: connectionInfo(protocol, family, undefined),
      actor: uid === undefined ? undefined : { user: userOf(uid, context) },
      firewall_rule: { name: 'sealed-namespace', type: 'nftables' },
      observables: observables({ name: 'dst_endpoint.ip', type_id: 2, type: 'IP Address', value: dst['ip'] }),
    },
  };
}

/** Network Activity [4001]: somebody who is not the process role at the control socket. */
export function controlRefusal({ peer, reason }: ControlFact, context: AuditContext): EventParts {
  const { pid, uid } = peer;
  return {
    class: 'network',
    activity: 5,
    severity: 3,
    success: false,
    action: 'denied',
    code: 'control_refused',
    detail: reason,
    message: `uid ${uid} refused at the control socket`,
    body: {
      src_endpoint: { ...peerEndpoint(peer), svc_name: 'control-client' },
      dst_endpoint: { uid: context.sandboxId, name: context.sandboxId, svc_name: 'control' },
      connection_info: { direction_id: 1, direction: 'Inbound', protocol_name: 'unix' },
      actor: { process: { pid: integer(pid), uid: `pid:${pid}` }, user: userOf(uid, context) },
    },
    unmapped: { peer_pid: pid, peer_gid: peer.gid },
  };
}
