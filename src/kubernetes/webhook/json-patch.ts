/**
 * The JSON Patch (RFC 6902) between two JSON values. Elements of a list that only moved over for a new one are not touched: a list is
 * compared by what names its elements, in linear time. (Libraries for it either rewrite every element behind an insertion, or take
 * memory with the square of a list's length, and lists of a pod are as long as its author likes.)
 */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

export type PatchOperation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: JsonValue }
  | { readonly op: 'remove'; readonly path: string };

/** Operations that make `after` of `before`, in the order in which they are to be applied; none where they are equal. */
export function patchBetween(before: JsonValue, after: JsonValue): readonly PatchOperation[] {
  const operations: PatchOperation[] = [];
  compare(before, after, '', operations);
  return operations;
}

function compare(before: JsonValue, after: JsonValue, path: string, operations: PatchOperation[]): void {
  if (isList(before) && isList(after)) compareLists(before, after, path, operations);
  else if (isMap(before) && isMap(after)) compareMaps(before, after, path, operations);
  else if (before !== after) operations.push({ op: 'replace', path, value: after });
}

function compareMaps(before: JsonMap, after: JsonMap, path: string, operations: PatchOperation[]): void {
  for (const key of Object.keys(before))
    if (!Object.hasOwn(after, key)) operations.push({ op: 'remove', path: below(path, key) });
  for (const [key, value] of Object.entries(after)) {
    const old = Object.hasOwn(before, key) ? before[key] : undefined;
    if (old === undefined) operations.push({ op: 'add', path: below(path, key), value });
    else compare(old, value, below(path, key), operations);
  }
}

function compareLists(
  before: readonly JsonValue[],
  after: readonly JsonValue[],
  path: string,
  operations: PatchOperation[],
): void {
  const start = sharedLength(before, after, (list, index) => list[index]);
  const rest = Math.min(before.length, after.length) - start;
  const end = Math.min(
    rest,
    sharedLength(before, after, (list, index) => list[list.length - 1 - index]),
  );
  const old = before.slice(start, before.length - end);
  const wanted = after.slice(start, after.length - end);
  const oldNames = old.map(nameOf);
  const wantedNames = wanted.map(nameOf);
  const stillOld = countOf(oldNames);
  const stillWanted = countOf(wantedNames);
  let taken = 0;
  for (const [index, value] of wanted.entries()) {
    const name = wantedNames[index] ?? '';
    const place = below(path, String(start + index));
    // What is not wanted any more goes, but for one that a new name takes the place of.
    while (taken < old.length && !stillWanted.has(oldNames[taken] ?? '') && stillOld.has(name)) {
      operations.push({ op: 'remove', path: place });
      take(stillOld, oldNames[taken++] ?? '');
    }
    const candidate = taken < old.length ? oldNames[taken] : undefined;
    const renamed = candidate !== undefined && !stillWanted.has(candidate) && !stillOld.has(name);
    if (candidate !== undefined && (candidate === name || renamed)) {
      compare(old[taken++] ?? null, value, place, operations);
      take(stillOld, candidate);
    } else operations.push({ op: 'add', path: place, value });
    take(stillWanted, name);
  }
  for (; taken < old.length; taken++)
    operations.push({ op: 'remove', path: below(path, String(start + wanted.length)) });
}

type JsonMap = { readonly [key: string]: JsonValue };

function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function isMap(value: JsonValue): value is JsonMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** How many elements are the same, in the order in which `at` gives them. */
function sharedLength(
  before: readonly JsonValue[],
  after: readonly JsonValue[],
  at: (list: readonly JsonValue[], index: number) => JsonValue | undefined,
): number {
  const most = Math.min(before.length, after.length);
  let length = 0;
  while (length < most && isEqual(at(before, length) ?? null, at(after, length) ?? null)) length++;
  return length;
}

function isEqual(one: JsonValue, other: JsonValue): boolean {
  if (isList(one) && isList(other))
    return one.length === other.length && one.every((value, index) => isEqual(value, other[index] ?? null));
  if (isMap(one) && isMap(other)) {
    const keys = Object.keys(one);
    return (
      keys.length === Object.keys(other).length &&
      keys.every((key) => Object.hasOwn(other, key) && isEqual(one[key] ?? null, other[key] ?? null))
    );
  }
  return one === other;
}

/** What Kubernetes tells elements of its lists apart by (its patchMergeKey), else all of it. Only how short a patch is depends on it. */
function nameOf(value: JsonValue): string {
  for (const key of ['mountPath', 'name'])
    if (isMap(value) && Object.hasOwn(value, key)) return `${key}=${JSON.stringify(value[key])}`;
  return JSON.stringify(value);
}

function countOf(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

function take(counts: Map<string, number>, name: string): void {
  const count = counts.get(name) ?? 0;
  if (count > 1) counts.set(name, count - 1);
  else counts.delete(name);
}

function below(path: string, key: string): string {
  return `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}
