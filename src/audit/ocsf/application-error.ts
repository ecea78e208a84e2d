import type { AuditFact } from '../event.ts';
import type { EventParts } from './base.ts';

/** Application Error [6008]: a fault of castellan's own, kept out of the security classes. */
export function applicationError({
  where,
  message,
}: Extract<AuditFact, { kind: 'internal-error' }>): EventParts {
  return {
    class: 'error',
    activity: 1,
    severity: 4,
    success: false,
    detail: message,
    message: `fault in ${where}`,
    body: {},
    unmapped: { where },
  };
}
