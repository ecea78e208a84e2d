import { ANY_PROGRAM } from '../../policy/any-program.ts';
import type { AuditFact } from '../event.ts';
import { modelActivity } from './api-activity.ts';
import { applicationError } from './application-error.ts';
import { applicationLifecycle } from './application-lifecycle.ts';
import { type AuditContext, type EventParts, makeEvent, type OcsfEvent, type Stamp } from './base.ts';
import { bypassFinding, credentialFinding, degradedFinding, type FindingPlace } from './detection-finding.ts';
import { deviceConfigState } from './device-config-state.ts';
import { dnsActivity } from './dns-activity.ts';
import { eventLogActivity, type LogFact } from './event-log-activity.ts';
import { fileActivity } from './file-activity.ts';
import { httpActivity } from './http-activity.ts';
import { bypassActivity, controlRefusal, countedDenials, networkActivity } from './network-activity.ts';
import { processActivity } from './process-activity.ts';
import { sshActivity } from './ssh-activity.ts';

/** The events of one fact: one, or a domain event and its finding. `nextStamp` is called once for each. */
export function toOcsf(
  fact: AuditFact | LogFact,
  nextStamp: () => Stamp,
  context: AuditContext,
): OcsfEvent[] {
  const stamp = nextStamp();
  const event = makeEvent(withJudgement(domainParts(fact, stamp, context), fact), stamp, context);
  const finding = findingParts(fact, event, nextStamp, context);
  return finding === undefined ? [event] : [event, finding];
}

/** Says of every decision about a connection that nobody looked which program asks, where nobody did. */
function withJudgement(parts: EventParts, fact: AuditFact | LogFact): EventParts {
  if (!('identity' in fact) || fact.identity !== ANY_PROGRAM) return parts;
  return { ...parts, unmapped: { ...parts.unmapped, binary_identity: 'none' } };
}

/** The context as later events repeat it. */
export function learn(context: AuditContext, fact: AuditFact | LogFact): AuditContext {
  if (fact.kind === 'policy-loaded') return { ...context, policy: { path: fact.path, digest: fact.digest } };
  if (fact.kind === 'identity-resolved') return { ...context, user: { name: fact.user, uid: fact.uid } };
  return context;
}

function domainParts(fact: AuditFact | LogFact, stamp: Stamp, context: AuditContext): EventParts {
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
    case 'policy-proposal':
    case 'policy-loaded':
    case 'policy-rejected':
    case 'rules-expired':
    case 'identity-resolved':
    case 'path-skipped':
    case 'workspace-owned':
    case 'workspace-mapped':
    case 'control-applied':
    case 'control-degraded':
      return deviceConfigState(fact, context);
    case 'path-prepared':
      return fact.action === 'created' ? fileActivity(fact, context) : deviceConfigState(fact, context);
    case 'process-launched':
    case 'process-exited':
    case 'launch-refused':
      return processActivity(fact, stamp, context);
    case 'connection-allowed':
      return networkActivity(fact, stamp, context);
    case 'request-violation':
    case 'message-allowed':
      return httpActivity(fact, fact.intent.http, stamp, context);
    case 'connection-denied':
    case 'connection-failed':
    case 'connection-closed': {
      const { http } = fact.intent;
      // A request without an answer has its failure on record already: this is the end of its connection.
      const unanswered = fact.kind === 'connection-closed' && fact.httpStatus === undefined;
      return http === undefined || unanswered
        ? networkActivity(fact, stamp, context)
        : httpActivity(fact, http, stamp, context);
    }
    case 'model-called':
      return modelActivity(fact, stamp, context);
    case 'denials-counted':
      return countedDenials(fact, stamp);
    case 'dns-answered':
    case 'dns-refused':
      return dnsActivity(fact, stamp);
    case 'bypass-refused':
      return bypassActivity(fact, context);
    case 'control-refused':
      return controlRefusal(fact, context);
    case 'ssh-listening':
    case 'ssh-opened':
    case 'ssh-closed':
    case 'ssh-attached':
    case 'ssh-detached':
    case 'ssh-forward-opened':
    case 'ssh-forward-closed':
    case 'ssh-forward-refused':
    case 'ssh-refused':
      return sshActivity(fact, stamp, context);
    case 'internal-error':
      return applicationError(fact, context);
  }
}

function findingParts(
  fact: AuditFact | LogFact,
  cause: OcsfEvent,
  nextStamp: () => Stamp,
  context: AuditContext,
): OcsfEvent | undefined {
  const parts = findingOf(fact);
  if (parts === undefined) return undefined;
  const stamp = nextStamp();
  return makeEvent(parts({ cause, stamp, context }), stamp, context);
}

function findingOf(fact: AuditFact | LogFact): ((place: FindingPlace) => EventParts) | undefined {
  if (fact.kind === 'bypass-refused') return (place) => bypassFinding(fact, place);
  if (fact.kind === 'control-degraded') return (place) => degradedFinding(fact, place);
  if (fact.kind === 'connection-denied' && fact.reason === 'credential_endpoint_mismatch')
    return (place) => credentialFinding(fact, place);
  return undefined;
}
