/** Services that the language lets rewrite requests on their way. Nothing here runs one, and to pass over one would let requests out unchecked. */
import { readChoice, readFields, readInteger, readList, readMap, readText } from './source/fields.ts';
import { type Findings, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

const KEYS = ['name', 'middleware', 'order', 'config', 'on_error', 'endpoints'] as const;
/** The language's order is an i32. */
const ORDER = [-(2 ** 31), 2 ** 31 - 1] as const;

/** Reads network_middlewares: mistakes in it are told as such, and whatever has none is refused. */
export function refuseMiddlewares(node: TreeNode | undefined, findings: Findings): void {
  if (node === undefined) return;
  for (const [name, { keyPosition, value }] of readMap(node, 'network_middlewares', findings)) {
    const where = `middleware ${quote(name)}`;
    const problems = findings.problems.length;
    const fields = readFields(value, where, KEYS, findings);
    for (const key of ['name', 'middleware'] as const)
      readText(fields.get(key), `${key} of ${where}`, findings);
    readInteger(fields.get('order'), `order of ${where}`, ORDER, findings);
    readChoice(fields.get('on_error'), `on_error of ${where}`, ['fail_closed', 'fail_open'], findings);
    readSelector(fields.get('endpoints'), where, findings);
    if (findings.problems.length === problems)
      refuse(
        findings,
        keyPosition,
        `${where} cannot run: castellan has no middlewares; remove it, or the requests it was to check would leave unchecked`,
      );
  }
}

function readSelector(node: TreeNode | undefined, where: string, findings: Findings): void {
  if (node === undefined) return;
  const fields = readFields(node, `endpoints of ${where}`, ['include', 'exclude'], findings);
  for (const key of ['include', 'exclude'] as const)
    for (const item of readList(fields.get(key), `${key} of ${where}`, findings))
      readText(item, `a host in ${key} of ${where}`, findings);
}
