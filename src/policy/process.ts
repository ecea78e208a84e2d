import { MAX_ID, parseId } from '../lib/id.ts';
import type { ProcessPolicy } from './document.ts';
import { describe, readFields } from './source/fields.ts';
import { type Findings, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

const SECTION = 'process';
/** Any account but root, as a platform's choice (config/driver-identity.ts). */
export const MIN_POLICY_ID = 1;
/** useradd(8). */
const MAX_NAME_LENGTH = 32;

/** Reads the process section. Whether an account exists is found out at the start. */
export function readProcess(node: TreeNode | undefined, findings: Findings): ProcessPolicy {
  const fields = node && readFields(node, SECTION, ['run_as_user', 'run_as_group'], findings);
  return {
    runAsUser: readIdentity(fields?.get('run_as_user'), `${SECTION}.run_as_user`, findings),
    runAsGroup: readIdentity(fields?.get('run_as_group'), `${SECTION}.run_as_group`, findings),
  };
}

/** A name or a decimal id, quoted or not. */
function readIdentity(node: TreeNode | undefined, where: string, findings: Findings): string | undefined {
  if (node === undefined) return undefined;
  if (node.kind !== 'scalar' || typeof node.value === 'boolean')
    return refuse(findings, node.position, `${where} must be a name or a number, not ${describe(node)}`);
  const text = typeof node.value === 'string' ? node.value : node.source;
  if (text === 'root' || text === '0') return refuse(findings, node.position, `${where} must not be root`);
  if (/^[a-z_][a-z0-9_-]*$/.test(text) && text.length <= MAX_NAME_LENGTH) return text;
  if (/^[1-9][0-9]*$/.test(text)) {
    if (parseId(text) !== undefined) return text;
    return refuse(
      findings,
      node.position,
      `${where} ${quote(text)} is outside ${MIN_POLICY_ID} to ${MAX_ID}`,
    );
  }
  return refuse(
    findings,
    node.position,
    `${where} ${quote(text)} is neither an account name nor a decimal number`,
  );
}
