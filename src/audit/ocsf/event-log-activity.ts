import type { AuditFact } from '../event.ts';
import { type AuditContext, type EventParts, LOG_NAME, LOG_PROVIDER } from './base.ts';
import { baseName, integer, supervisor } from './objects.ts';

/** Facts about the log, which only the log itself reports. */
export type LogFact =
  | Extract<AuditFact, { kind: 'audit-opened' | 'audit-closed' }>
  | { readonly kind: 'audit-dropped'; readonly count: number; readonly reason: string };

/** Event Log Activity [1008]: the log opened, closed, or lost records. */
export function eventLogActivity(fact: LogFact, context: AuditContext): EventParts {
  const log = {
    log_name: LOG_NAME,
    log_provider: LOG_PROVIDER,
    log_type_id: 2,
    log_type: 'Application',
    actor: supervisor(context),
  };
  if (fact.kind === 'audit-dropped')
    return {
      class: 'eventLog',
      activity: 'Records Dropped',
      severity: 4,
      success: false,
      detail: fact.reason,
      message: `${fact.count} records dropped`,
      code: 'queue_full',
      body: { ...log, count: integer(fact.count) },
    };
  const body = {
    ...log,
    file: { name: baseName(fact.path), path: fact.path, type_id: 1, type: 'Regular File' },
  };
  return fact.kind === 'audit-opened'
    ? { class: 'eventLog', activity: 6, severity: 1, success: true, message: 'audit log opened', body }
    : {
        class: 'eventLog',
        activity: 7,
        severity: 1,
        success: true,
        message: `audit log closed after ${fact.records} records`,
        body: { ...body, count: integer(fact.records) },
        unmapped: { records: fact.records },
      };
}
