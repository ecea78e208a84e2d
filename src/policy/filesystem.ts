import type { FilesystemPolicy } from './document.ts';
import { parsePath } from './path.ts';
import { readBoolean, readFields, readList, readText } from './source/fields.ts';
import { type Findings, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

const SECTION = 'filesystem_policy';
/** Of the policy language, over both lists. */
const MAX_PATHS = 256;

/** What holds where the policy has no filesystem_policy: enough to run programs, and a place to write. */
export const DEFAULT_FILESYSTEM: FilesystemPolicy = {
  includeWorkdir: true,
  readOnly: ['/usr', '/lib', '/lib64', '/bin', '/sbin', '/etc', '/proc', '/app', '/var/log', '/dev/urandom'],
  readWrite: ['/tmp', '/dev/null'],
};

/** Reads filesystem_policy. */
export function readFilesystem(node: TreeNode | undefined, findings: Findings): FilesystemPolicy {
  if (node === undefined) return DEFAULT_FILESYSTEM;
  const fields = readFields(node, SECTION, ['include_workdir', 'read_only', 'read_write'], findings);
  const readOnly = readPaths(fields.get('read_only'), `${SECTION}.read_only`, findings);
  const readWrite = readPaths(fields.get('read_write'), `${SECTION}.read_write`, findings);
  if (readOnly.length + readWrite.length > MAX_PATHS)
    refuse(findings, node.position, `${SECTION} lists more than ${MAX_PATHS} paths`);
  if (readWrite.includes('/'))
    refuse(
      findings,
      fields.get('read_write')?.position ?? node.position,
      `${SECTION}.read_write must not contain "/"`,
    );
  return {
    // Policies written for OpenShell rely on true, its run-time default, although its parser says false.
    includeWorkdir:
      readBoolean(fields.get('include_workdir'), `${SECTION}.include_workdir`, findings) ?? true,
    readOnly: [...new Set(readOnly)],
    readWrite: [...new Set(readWrite)],
  };
}

function readPaths(node: TreeNode | undefined, where: string, findings: Findings): string[] {
  return readList(node, where, findings).flatMap((item) => {
    const text = readText(item, `a path in ${where}`, findings);
    if (text === undefined) return [];
    const parsed = parsePath(text);
    if ('path' in parsed) return [parsed.path];
    refuse(findings, item.position, `path ${quote(text)} in ${where} ${parsed.problem}`);
    return [];
  });
}
