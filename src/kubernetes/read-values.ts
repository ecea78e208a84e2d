/** Values of a request that Kubernetes has rules for, read from the tree of its text. */
import type { V1ResourceRequirements, V1Toleration } from '@kubernetes/client-node';
import {
  readBoolean,
  readChoice,
  readFields,
  readInteger,
  readList,
  readMap,
  readText,
} from '../policy/source/fields.ts';
import { type Findings, quote, refuse } from '../policy/source/findings.ts';
import type { TreeNode } from '../policy/source/tree.ts';
import { isNormalPath } from './layout.ts';
import type { KeyOf } from './supervisor.ts';

export type Pattern = readonly [pattern: RegExp, what: string];

export const LABEL_NAME: Pattern = [/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'up to 63 of a-z, 0-9 and -'];
export const OBJECT_NAME: Pattern = [
  /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
  'words of a-z, 0-9 and -, with dots between them',
];
export const IMAGE: Pattern = [/^[A-Za-z0-9][\w.:/@-]{0,511}$/, 'the name of an image'];
export const QUANTITY: Pattern = [
  /^(0|[1-9]\d*)(\.\d+)?(m|[kMGTPE]|[KMGTPE]i)?$/,
  'a quantity, as 500m, 2 or 2Gi',
];
export const QUALIFIED_NAME: Pattern = [
  /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$/,
  'a name, with PREFIX/ before it or not',
];
const LABEL_VALUE: Pattern = [
  /^([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?$/,
  'up to 63 letters, digits and -_.',
];
const CONFIG_KEY: Pattern = [/^(?!\.\.?$)[-._a-zA-Z0-9]{1,253}$/, 'letters, digits and -_.'];

/** A text of a given form; undefined where absent or something else. */
export function readForm(
  node: TreeNode | undefined,
  where: string,
  [pattern, what]: Pattern,
  findings: Findings,
): string | undefined {
  const text = readText(node, where, findings);
  if (node === undefined || text === undefined || pattern.test(text)) return text;
  return refuse(findings, node.position, `${where} must be ${what}, not ${quote(text)}`);
}

/** As readForm, of what has to be there. `parent` is where it is missed. */
export function requireForm(
  node: TreeNode | undefined,
  where: string,
  pattern: Pattern,
  parent: TreeNode,
  findings: Findings,
): string {
  if (node === undefined) refuse(findings, parent.position, `${where} is missing`);
  return readForm(node, where, pattern, findings) ?? '';
}

/** An absolute path without anything that says it in another way. */
export function readPath(node: TreeNode | undefined, where: string, findings: Findings): string | undefined {
  const text = readText(node, where, findings);
  if (node === undefined || text === undefined || isNormalPath(text)) return text;
  return refuse(findings, node.position, `${where} must be a plain absolute path, not ${quote(text)}`);
}

/** A list of texts. */
export function readTexts(node: TreeNode | undefined, where: string, findings: Findings): string[] {
  return readList(node, where, findings).flatMap(
    (item, index) => readText(item, `${where}[${index}]`, findings) ?? [],
  );
}

/** Words and their values; `checks` are for the words and, where there is one, for the values. */
export function readWords(
  node: TreeNode | undefined,
  where: string,
  [names, values]: readonly [Pattern, Pattern?],
  findings: Findings,
): Record<string, string> {
  if (node === undefined) return {};
  const words: Record<string, string> = {};
  for (const [name, { keyPosition, value }] of readMap(node, where, findings)) {
    if (!names[0].test(name)) refuse(findings, keyPosition, `${quote(name)} in ${where} must be ${names[1]}`);
    const at = `${where}.${name}`;
    const text = values === undefined ? readText(value, at, findings) : readForm(value, at, values, findings);
    if (text !== undefined) Object.defineProperty(words, name, { value: text, enumerable: true });
  }
  return words;
}

export const readLabels = (node: TreeNode | undefined, where: string, findings: Findings) =>
  readWords(node, where, [QUALIFIED_NAME, LABEL_VALUE], findings);

export const readAnnotations = (node: TreeNode | undefined, where: string, findings: Findings) =>
  readWords(node, where, [QUALIFIED_NAME], findings);

/** `{ KIND: NAME, key: KEY }` of a Secret or ConfigMap. */
export function readKeyOf<Kind extends string>(
  node: TreeNode | undefined,
  where: string,
  kind: Kind,
  defaultKey: string,
  findings: Findings,
): KeyOf | undefined {
  if (node === undefined) return undefined;
  const fields = readFields(node, where, [kind, 'key'], findings);
  return {
    name: requireForm(fields.get(kind), `${where}.${kind}`, OBJECT_NAME, node, findings),
    key: readForm(fields.get('key'), `${where}.key`, CONFIG_KEY, findings) ?? defaultKey,
  };
}

/** Requests and limits, as a container has them. */
export function readResources(
  node: TreeNode | undefined,
  where: string,
  findings: Findings,
): V1ResourceRequirements | undefined {
  if (node === undefined) return undefined;
  const fields = readFields(node, where, ['requests', 'limits'], findings);
  const amounts = (key: 'requests' | 'limits') => {
    const amount = fields.get(key);
    return amount === undefined ? undefined : readAmounts(amount, `${where}.${key}`, findings);
  };
  const requests = amounts('requests');
  const limits = amounts('limits');
  return { ...(requests !== undefined && { requests }), ...(limits !== undefined && { limits }) };
}

/** `cpu: 2` is a number in YAML, and a text in Kubernetes. */
function readAmounts(node: TreeNode, where: string, findings: Findings): Record<string, string> {
  const amounts: Record<string, string> = {};
  for (const [name, { value }] of readMap(node, where, findings)) {
    const text = value.kind === 'scalar' && value.value !== null ? value.source : undefined;
    if (text !== undefined && QUANTITY[0].test(text)) amounts[name] = text;
    else refuse(findings, value.position, `${where}.${name} must be ${QUANTITY[1]}`);
  }
  return amounts;
}

export function readTolerations(
  node: TreeNode | undefined,
  where: string,
  findings: Findings,
): V1Toleration[] {
  return readList(node, where, findings).map((item, index) => {
    const at = `${where}[${index}]`;
    const fields = readFields(
      item,
      at,
      ['key', 'operator', 'value', 'effect', 'toleration_seconds'],
      findings,
    );
    const key = readForm(fields.get('key'), `${at}.key`, QUALIFIED_NAME, findings);
    const operator = readChoice(fields.get('operator'), `${at}.operator`, ['Exists', 'Equal'], findings);
    const value = readText(fields.get('value'), `${at}.value`, findings);
    const effects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'] as const;
    const effect = readChoice(fields.get('effect'), `${at}.effect`, effects, findings);
    const seconds = fields.get('toleration_seconds');
    const tolerationSeconds = readInteger(seconds, `${at}.toleration_seconds`, [0, 2 ** 31 - 1], findings);
    return {
      ...(key !== undefined && { key }),
      ...(operator !== undefined && { operator }),
      ...(value !== undefined && { value }),
      ...(effect !== undefined && { effect }),
      ...(tolerationSeconds !== undefined && { tolerationSeconds }),
    };
  });
}

/** As readBoolean, with a value where there is none. */
export function readSwitch(
  node: TreeNode | undefined,
  where: string,
  otherwise: boolean,
  findings: Findings,
): boolean {
  return readBoolean(node, where, findings) ?? otherwise;
}
