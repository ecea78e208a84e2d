import type { AuditFact } from '../event.ts';
import { applicationError } from './application-error.ts';
import { applicationLifecycle } from './application-lifecycle.ts';
import { type AuditContext, type EventParts, makeEvent, type OcsfEvent, type Stamp } from './base.ts';
import { bypassFinding, degradedFinding } from './detection-finding.ts';
import { deviceConfigState } from './device-config-state.ts';
import { dnsActivity } from './dns-activity.ts';
import { eventLogActivity, type LogFact } from './event-log-activity.ts';
import { fileActivity } from './file-activity.ts';
import { httpActivity } from './http-activity.ts';
import { bypassActivity, networkActivity } from './network-activity.ts';
import { processActivity } from './process-activity.ts';
import { sshActivity } from './ssh-activity.ts';

/** The events of one fact: one, or a domain event and its finding. `nextStamp` is called once for each. */
export function toOcsf(
  fact: AuditFact | LogFact,
  nextStamp: () => Stamp,
  context: AuditContext,
): OcsfEvent[] {
  const first = nextStamp();
  const events = [makeEvent(domainParts(fact, context), first, context)];
  const second = findingParts(fact, first, nextStamp, context);
  if (second !== undefined) events.push(second);
  return events;
}

function domainParts(fact: AuditFact | LogFact, context: AuditContext): EventParts {
  switch (fact.kind) {
    case 'supervisor-started':
    case 'supervisor-ready':
    case 'supervisor-stopped':
    case 'supervisor-failed':
      return applicationLifecycle(fact, context);
    case 'audit-opened':
    case 'audit-closed':
    case 'audit-dropped':
      return eventLogActivity(fact, context);
    case 'policy-loaded':
    case 'identity-resolved':
    case 'path-skipped':
    case 'control-applied':
    case 'control-degraded':
      return deviceConfigState(fact, context);
    case 'path-prepared':
      return fact.action === 'created' ? fileActivity(fact, context) : deviceConfigState(fact, context);
    case 'process-launched':
    case 'process-exited':
    case 'launch-refused':
      return processActivity(fact, context);
    case 'connection-allowed':
      return networkActivity(fact, context);
    case 'connection-denied':
    case 'connection-failed':
    case 'connection-closed': {
      const { http } = fact.intent;
      return http === undefined ? networkActivity(fact, context) : httpActivity(fact, http, context);
    }
    case 'dns-answered':
    case 'dns-refused':
      return dnsActivity(fact);
    case 'bypass-refused':
      return bypassActivity(fact);
    case 'ssh-listening':
    case 'ssh-opened':
    case 'ssh-closed':
    case 'ssh-refused':
      return sshActivity(fact, context);
    case 'internal-error':
      return applicationError(fact);
  }
}

function findingParts(
  fact: AuditFact | LogFact,
  first: Stamp,
  nextStamp: () => Stamp,
  context: AuditContext,
): OcsfEvent | undefined {
  if (fact.kind !== 'bypass-refused' && fact.kind !== 'control-degraded') return undefined;
  const stamp = nextStamp();
  const parts =
    fact.kind === 'bypass-refused'
      ? bypassFinding(fact, stamp, first, context)
      : degradedFinding(fact, stamp, context);
  return makeEvent(parts, stamp, context);
}
