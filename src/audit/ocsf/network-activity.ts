import type { AuditFact } from '../event.ts';
import type { AuditContext, EventParts } from './base.ts';
import { actorOf, connectionInfo, endpoint, flowOf, ruleOf } from './objects.ts';

type ConnectionFact = Extract<AuditFact, { kind: `connection-${string}` }>;
type BypassFact = Extract<AuditFact, { kind: 'bypass-refused' }>;

const PROTOCOLS: Readonly<Record<number, string>> = {
  1: 'ICMP',
  6: 'TCP',
  17: 'UDP',
  58: 'ICMPv6',
  132: 'SCTP',
};

/** Network Activity [4001]: connections opened, refused, failed and closed. */
export function networkActivity(fact: ConnectionFact, context: AuditContext): EventParts {
  const { intent, identity } = fact;
  const address = 'address' in fact ? fact.address : undefined;
  const body = {
    ...flowOf(intent, address),
    actor: actorOf(identity, context),
    firewall_rule: ruleOf(fact.rule),
  };
  const parts = {
    class: 'network',
    correlation: intent.connectionId,
    body,
    unmapped: { adapter: intent.adapter },
  } as const;
  const target = `${intent.host}:${intent.port}`;
  switch (fact.kind) {
    case 'connection-allowed':
      return {
        ...parts,
        activity: 1,
        severity: 1,
        success: true,
        action: 'allowed',
        message: `${target} allowed by ${fact.rule}`,
      };
    case 'connection-denied':
      return {
        ...parts,
        activity: 5,
        severity: 3,
        success: false,
        action: 'denied',
        detail: fact.detail,
        message: `${target} denied: ${fact.reason}`,
        unmapped: { ...parts.unmapped, reason: fact.reason },
      };
    case 'connection-failed':
      return {
        ...parts,
        activity: 4,
        severity: 2,
        success: false,
        detail: fact.detail,
        message: `${target} failed`,
      };
    case 'connection-closed': {
      const { bytesIn, bytesOut, durationMs } = fact;
      const traffic = { bytes_in: bytesIn, bytes_out: bytesOut, bytes: bytesIn + bytesOut };
      return {
        ...parts,
        activity: 2,
        severity: 1,
        success: true,
        message: `${target} closed, ${bytesOut} bytes out, ${bytesIn} in`,
        body: { ...body, traffic, duration: Math.round(durationMs) },
      };
    }
  }
}

/** Network Activity [4001]: a packet that tried to go around the listeners. */
export function bypassActivity({ protocol, source, destination, uid }: BypassFact): EventParts {
  const family = destination.address.includes(':') ? 6 : 4;
  return {
    class: 'network',
    activity: 5,
    severity: 3,
    success: false,
    action: 'denied',
    message: `${PROTOCOLS[protocol] ?? `protocol ${protocol}`} to ${destination.address}:${destination.port} refused`,
    detail: 'only TCP leaves the sandbox, through the proxy',
    body: {
      src_endpoint: endpoint(source),
      dst_endpoint: endpoint(destination),
      connection_info: connectionInfo(protocol, family, undefined),
      actor: uid === undefined ? undefined : { user: { uid: String(uid), type_id: 1, type: 'User' } },
      firewall_rule: { name: 'sealed-namespace', type: 'nftables' },
    },
  };
}
