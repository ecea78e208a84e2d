import type { AuditFact } from '../event.ts';
import type { AuditContext, EventParts } from './base.ts';
import { baseName, supervisor } from './objects.ts';

/** File System Activity [1001]: a path that castellan made for the agent. */
export function fileActivity(
  { path }: Extract<AuditFact, { kind: 'path-prepared' }>,
  context: AuditContext,
): EventParts {
  return {
    class: 'file',
    activity: 1,
    severity: 1,
    success: true,
    message: `${path} created for the agent`,
    body: { file: { name: baseName(path), path, type_id: 2, type: 'Folder' }, actor: supervisor(context) },
  };
}
