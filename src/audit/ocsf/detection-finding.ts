import type { AuditFact } from '../event.ts';
import { type AuditContext, CLASSES, type EventParts, eventUid, type Stamp } from './base.ts';
import { connectionInfo, endpoint } from './objects.ts';

const CONFIDENT = { confidence_id: 3, confidence: 'High', is_alert: true };

function findingInfo(type: string, title: string, stamp: Stamp, context: AuditContext): object {
  return {
    uid: `${eventUid(context, stamp)}:${type}`,
    title,
    types: [type],
    created_time: stamp.time,
    analytic: { name: type, uid: `castellan.${type}`, type_id: 1, type: 'Rule' },
  };
}

/** Detection Finding [2004]: a control the operator expects is missing. */
export function degradedFinding(
  { control, reason, remedy }: Extract<AuditFact, { kind: 'control-degraded' }>,
  stamp: Stamp,
  context: AuditContext,
): EventParts {
  return {
    class: 'finding',
    activity: 1,
    severity: 4,
    action: 'observed',
    message: `${control} is not enforced: ${reason}`,
    body: {
      ...CONFIDENT,
      status_id: 1,
      status: 'New',
      finding_info: findingInfo('control-degraded', `${control} is not enforced`, stamp, context),
      evidences: [{ data: { control, reason } }],
      remediation: { desc: remedy },
      resources: [{ uid: context.sandboxId, name: context.sandboxId, type: 'sandbox' }],
    },
  };
}

/** Detection Finding [2004]: somebody tried to go around the proxy; points at the network event of the same packet. */
export function bypassFinding(
  { protocol, source, destination }: Extract<AuditFact, { kind: 'bypass-refused' }>,
  stamp: Stamp,
  related: Stamp,
  context: AuditContext,
): EventParts {
  const family = destination.address.includes(':') ? 6 : 4;
  const refuse = CLASSES.network.uid * 100 + 5;
  return {
    class: 'finding',
    activity: 1,
    severity: 3,
    action: 'denied',
    message: `egress around the proxy to ${destination.address}:${destination.port} refused`,
    body: {
      ...CONFIDENT,
      status_id: 1,
      status: 'New',
      finding_info: {
        ...findingInfo('proxy-bypass', 'Egress around the proxy', stamp, context),
        related_events: [
          { uid: eventUid(context, related), type_uid: refuse, type: 'Network Activity: Refuse' },
        ],
      },
      evidences: [
        {
          src_endpoint: endpoint(source),
          dst_endpoint: endpoint(destination),
          connection_info: connectionInfo(protocol, family, undefined),
        },
      ],
      remediation: { desc: 'use the proxy variables, or TCP to a host that the policy names' },
      resources: [{ uid: context.sandboxId, name: context.sandboxId, type: 'sandbox' }],
    },
  };
}
