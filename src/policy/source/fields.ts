/** Reading the tree into values. Each function notes what is wrong and gives a harmless value in its place. */
import { nearest } from '../../lib/nearest.ts';
import { type Findings, quote, refuse } from './findings.ts';
import type { MapNode, ScalarNode, TreeNode } from './tree.ts';

export type Fields<Key extends string> = ReadonlyMap<Key, TreeNode>;

/**
 * The entries of a map, all of whose keys must be among `keys`. A key without a value counts as absent.
 * `where` names the map in messages.
 */
export function readFields<Key extends string>(
  node: TreeNode,
  where: string,
  keys: readonly Key[],
  findings: Findings,
): Fields<Key> {
  const fields = new Map<Key, TreeNode>();
  for (const [name, { keyPosition, value }] of readMap(node, where, findings)) {
    const key = keys.find((known) => known === name);
    if (key === undefined)
      refuse(findings, keyPosition, `unknown key ${quote(name)} in ${where}${didYouMean(name, keys)}`);
    else if (!isAbsent(value)) fields.set(key, value);
  }
  return fields;
}

/** The entries of a map with keys of the author's choosing. */
export function readMap(node: TreeNode, where: string, findings: Findings): MapNode['entries'] {
  if (node.kind === 'map') return node.entries;
  if (!isAbsent(node)) refuse(findings, node.position, `${where} must be a mapping, not ${describe(node)}`);
  return new Map();
}

/** The items of a list; an absent one is empty. */
export function readList(node: TreeNode | undefined, where: string, findings: Findings): readonly TreeNode[] {
  if (node === undefined) return [];
  if (node.kind === 'list') return node.items;
  refuse(findings, node.position, `${where} must be a list, not ${describe(node)}`);
  return [];
}

/** A text; undefined where absent or something else. */
export function readText(node: TreeNode | undefined, where: string, findings: Findings): string | undefined {
  if (node === undefined) return undefined;
  if (node.kind === 'scalar' && typeof node.value === 'string') return node.value;
  return refuse(findings, node.position, `${where} must be a text, not ${describe(node)}`);
}

/** true or false; undefined where absent or something else. */
export function readBoolean(
  node: TreeNode | undefined,
  where: string,
  findings: Findings,
): boolean | undefined {
  if (node === undefined) return undefined;
  if (node.kind === 'scalar' && typeof node.value === 'boolean') return node.value;
  return refuse(findings, node.position, `${where} must be true or false, not ${describe(node)}`);
}

/** A whole number in plain decimal digits: `0x1bb`, `443.0` and `"443"` are not what the author's reviewer reads. */
export function readInteger(
  node: TreeNode | undefined,
  where: string,
  [least, most]: readonly [number, number],
  findings: Findings,
): number | undefined {
  if (node === undefined) return undefined;
  const value = node.kind === 'scalar' && /^(?:0|-?[1-9][0-9]*)$/.test(node.source) ? node.value : undefined;
  if (typeof value === 'number' && value >= least && value <= most) return value;
  const range = least === most ? `${least}` : `a whole number from ${least} to ${most}`;
  return refuse(findings, node.position, `${where} must be ${range}, not ${describe(node)}`);
}

/** One of a closed list of words. */
export function readChoice<Choice extends string>(
  node: TreeNode | undefined,
  where: string,
  choices: readonly Choice[],
  findings: Findings,
): Choice | undefined {
  const text = readText(node, where, findings);
  const choice = choices.find((known) => known === text);
  if (node === undefined || text === undefined || choice !== undefined) return choice;
  const listed = choices
    .filter((known) => known !== '')
    .map(quote)
    .join(' or ');
  return refuse(
    findings,
    node.position,
    `${where} must be ${listed}, not ${quote(text)}${didYouMean(text, choices)}`,
  );
}

/** `, did you mean "x"?` where one of the words is near. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const near = word.length > 100 ? undefined : nearest(word.toLowerCase(), candidates);
  return near === undefined || near === '' ? '' : `, did you mean ${quote(near)}?`;
}

/** Whether a key was written without a value. */
export function isAbsent(node: TreeNode): node is ScalarNode {
  return node.kind === 'scalar' && node.value === null;
}

/** What a value is, for messages. */
export function describe(node: TreeNode): string {
  if (node.kind !== 'scalar') return node.kind === 'list' ? 'a list' : 'a mapping';
  if (node.value === null) return 'nothing';
  return typeof node.value === 'string' ? `the text ${quote(node.value)}` : quote(node.source);
}
