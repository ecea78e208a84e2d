import type { AuditFact } from '../event.ts';
import { type AuditContext, type EventParts, eventUid, type OcsfEvent, type Stamp } from './base.ts';

type DegradedFact = Extract<AuditFact, { kind: 'control-degraded' }>;
type DeniedFact = Extract<AuditFact, { kind: 'connection-denied' }>;
type BypassFact = Extract<AuditFact, { kind: 'bypass-refused' }>;

/** Where a finding stands: the event that tells what happened, and the finding's own place in the log. */
export interface FindingPlace {
  readonly cause: OcsfEvent;
  readonly stamp: Stamp;
  readonly context: AuditContext;
}

/** Detection Finding [2004]: a control the operator expects is missing. */
export function degradedFinding({ control, reason, remedy }: DegradedFact, place: FindingPlace): EventParts {
  const title = `${control} is degraded`;
  return {
    class: 'finding',
    activity: 1,
    severity: 4,
    action: 'observed',
    message: `${title}: ${reason}`,
    body: {
      ...alarm('control-degraded', title, place),
      evidences: [{ data: { control, reason } }],
      remediation: { desc: remedy },
    },
  };
}

/** Detection Finding [2004]: somebody tried to go around the proxy. */
export function bypassFinding({ destination }: BypassFact, place: FindingPlace): EventParts {
  const { src_endpoint, dst_endpoint, connection_info, actor } = place.cause;
  return {
    class: 'finding',
    activity: 1,
    severity: 3,
    action: 'denied',
    message: `egress around the proxy to ${destination.address} port ${destination.port} refused`,
    body: {
      ...alarm('proxy-bypass', 'Egress around the proxy', place),
      actor,
      evidences: [{ src_endpoint, dst_endpoint, connection_info, actor }],
      remediation: { desc: 'use the proxy variables, or TCP to a host that the policy names' },
    },
  };
}

/** Detection Finding [2004]: a placeholder was sent where its credential may not go. */
export function credentialFinding({ intent, detail }: DeniedFact, place: FindingPlace): EventParts {
  const { src_endpoint, dst_endpoint, actor } = place.cause;
  return {
    class: 'finding',
    activity: 1,
    severity: 3,
    action: 'denied',
    message: `a credential was asked for at ${intent.host}:${intent.port}, where it may not go: ${detail}`,
    body: {
      ...alarm('credential-misuse', 'Credential outside its endpoints', place),
      actor,
      evidences: [{ src_endpoint, dst_endpoint, actor }],
      remediation: {
        desc: 'find out what made the program send it there; bind the credential if it belongs there',
      },
    },
  };
}

function alarm(type: string, title: string, { cause, stamp, context }: FindingPlace): object {
  const { time } = stamp;
  return {
    status_id: 1,
    status: 'New',
    confidence_id: 3,
    confidence: 'High',
    is_alert: true,
    finding_info: {
      // Of its own: consumers fold findings of one uid together.
      uid: `${eventUid(context, stamp)}:${type}`,
      title,
      types: [type],
      created_time: time,
      first_seen_time: time,
      last_seen_time: time,
      analytic: { name: type, uid: `castellan.${type}`, type_id: 1, type: 'Rule' },
      related_events: [{ uid: cause.metadata.uid, type_uid: cause.type_uid, type: cause.type_name }],
    },
    resources: [{ uid: context.sandboxId, name: context.sandboxId, type: 'sandbox' }],
  };
}
