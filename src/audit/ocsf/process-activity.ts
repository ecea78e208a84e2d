import type { AuditFact } from '../event.ts';
import type { AuditContext, EventParts } from './base.ts';
import { commandLine } from './command-line.ts';
import { baseName, launchedProcess, supervisor } from './objects.ts';

type ProcessFact = Extract<AuditFact, { kind: 'process-launched' | 'process-exited' | 'launch-refused' }>;

/** Process Activity [1007]: what was launched in the sandbox, and how it ended. */
export function processActivity(fact: ProcessFact, context: AuditContext): EventParts {
  if (fact.kind === 'launch-refused') return refused(fact, context);
  const { process: launched } = fact;
  const parts = { class: 'process', correlation: launched.sessionId } as const;
  const body = { process: launchedProcess(launched, context), actor: supervisor(context) };
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
    detail: fact.signal,
    message: `${launched.kind} ${name} ${how}`,
    body: { ...body, exit_code: fact.exitCode, duration: Math.round(fact.durationMs) },
  };
}

function refused(
  { argv, sessionId, step, errno, object }: Extract<ProcessFact, { kind: 'launch-refused' }>,
  context: AuditContext,
): EventParts {
  return {
    class: 'process',
    activity: 1,
    severity: 3,
    success: false,
    action: 'denied',
    correlation: sessionId,
    detail: `${step}: ${errno}`,
    message: `${baseName(argv[0] ?? '')} was not launched`,
    body: {
      process: {
        name: baseName(argv[0] ?? ''),
        uid: `${context.bootId}/${sessionId}`,
        cmd_line: commandLine(argv),
      },
      actor: supervisor(context),
    },
    unmapped: { step, errno, object },
  };
}
