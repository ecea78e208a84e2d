import type { AuditFact } from '../event.ts';
import type { AuditContext, EventParts } from './base.ts';
import { redactText } from './command-line.ts';
import { supervisor } from './objects.ts';

/** Application Error [6008]: a fault of castellan's own, kept out of the security classes. */
export function applicationError(
  { where, message }: Extract<AuditFact, { kind: 'internal-error' }>,
  context: AuditContext,
): EventParts {
  return {
    class: 'error',
    activity: 1,
    severity: 4,
    success: false,
    // A fault's message may quote what was being worked on.
    detail: redactText(message),
    message: `fault in ${where}`,
    body: { actor: supervisor(context) },
    unmapped: { where },
  };
}
