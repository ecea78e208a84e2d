import type { AuditFact } from '../event.ts';
import { type AuditContext, type EventParts, PRODUCT_NAME } from './base.ts';
import { long, supervisor } from './objects.ts';

type LifecycleFact = Extract<AuditFact, { kind: `supervisor-${string}` }>;

/** Application Lifecycle [6002]: the supervisor itself. */
export function applicationLifecycle(fact: LifecycleFact, context: AuditContext): EventParts {
  const { version } = context;
  const app = { name: PRODUCT_NAME, vendor_name: PRODUCT_NAME, uid: PRODUCT_NAME, version };
  const body = { app, actor: supervisor(context) };
  const parts = { class: 'lifecycle', body } as const;
  switch (fact.kind) {
    case 'supervisor-started':
      return {
        ...parts,
        activity: 3,
        severity: 1,
        success: true,
        message: `castellan ${version} started as ${fact.mode}`,
        unmapped: { mode: fact.mode, pid: fact.pid },
      };
    case 'supervisor-ready':
      return {
        ...parts,
        activity: 'Ready',
        severity: 1,
        success: true,
        message: `sandbox ready after ${Math.round(fact.durationMs)} ms`,
        body: { ...body, duration: long(fact.durationMs) },
        unmapped: { ssh_socket: fact.sshSocket },
      };
    case 'supervisor-stopped':
      return {
        ...parts,
        activity: 4,
        severity: 1,
        success: true,
        message: `sandbox ended: ${fact.reason}`,
        unmapped: { exit_code: fact.exitCode },
      };
    case 'supervisor-failed':
      return {
        ...parts,
        activity: 4,
        severity: 4,
        success: false,
        code: fact.code,
        detail: fact.message,
        message: `castellan refused to go on: ${fact.code} at ${fact.step}`,
        unmapped: { step: fact.step },
      };
  }
}
