import type { AuditFact } from '../event.ts';
import { type AuditContext, type EventParts, eventUid, type Stamp } from './base.ts';
import { commandLine } from './command-line.ts';
import { baseName, integer, launchedProcess, spanOf, supervisor } from './objects.ts';

type ProcessFact = Extract<AuditFact, { kind: 'process-launched' | 'process-exited' | 'launch-refused' }>;

/** Process Activity [1007]: what was launched in the sandbox, and how it ended. */
export function processActivity(fact: ProcessFact, stamp: Stamp, context: AuditContext): EventParts {
  if (fact.kind === 'launch-refused') return refused(fact, stamp, context);
  const { process: launched } = fact;
  const parts = { class: 'process', correlation: launched.sessionId } as const;
  const body = { process: launchedProcess(launched, context), actor: starter(launched.sessionId, context) };
  const name = baseName(launched.argv[0] ?? '');
  if (fact.kind === 'process-launched')
    return {
      ...parts,
      activity: 1,
      severity: 1,
      success: true,
      action: 'allowed',
      message: `${launched.kind} ${name} started as ${launched.user}`,
      body: { ...body, launch_type_id: 3, launch_type: 'Exec' },
      unmapped: { session_kind: launched.kind },
    };
  const how = fact.signal === undefined ? `exited with ${fact.exitCode}` : `was ended by ${fact.signal}`;
  return {
    ...parts,
    activity: 2,
    severity: 1,
    success: fact.exitCode === 0,
    code: fact.signal ?? String(fact.exitCode),
    message: `${launched.kind} ${name} ${how}`,
    body: { ...body, exit_code: integer(fact.exitCode), ...spanOf(fact.durationMs, stamp) },
    unmapped: { session_kind: launched.kind },
  };
}

function refused(
  { argv, sessionId, step, errno, object }: Extract<ProcessFact, { kind: 'launch-refused' }>,
  stamp: Stamp,
  context: AuditContext,
): EventParts {
  return {
    class: 'process',
    activity: 1,
    severity: 3,
    success: false,
    action: 'denied',
    correlation: sessionId,
    code: errno,
    detail: `${step}: ${errno}`,
    message: `${baseName(argv[0] ?? '')} was not launched`,
    body: {
      process: {
        name: baseName(argv[0] ?? ''),
        // It never had a pid.
        uid: eventUid(context, stamp),
        cmd_line: commandLine(argv),
      },
      actor: starter(sessionId, context),
    },
    unmapped: { step, object },
  };
}

function starter(sessionId: string, context: AuditContext): object {
  return { ...supervisor(context), session: { uid: sessionId } };
}
