/** What a document may be before anything walks it: every function behind this one may recurse. */

/** A pod is a dozen levels deep, and so is what managedFields say of it. */
const MAX_DEPTH = 64;
/** A pod of the size that etcd takes has some ten thousand values. */
const MAX_VALUES = 200_000;

/** Why a value that was parsed is not to be looked at; undefined where it may be. */
export function problemOfBounds(document: unknown): string | undefined {
  let level: unknown[] = [document];
  let values = 0;
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) return `is nested deeper than ${MAX_DEPTH} levels`;
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value !== 'object' || value === null) continue;
      // No field of Kubernetes has this name, and assignment to it is no assignment.
      if (Object.hasOwn(value, '__proto__')) return 'has a key named __proto__';
      const inner = Object.values(value);
      values += inner.length;
      if (values > MAX_VALUES) return `has more than ${MAX_VALUES} values`;
      for (const one of inner) next.push(one);
    }
    level = next;
  }
  return undefined;
}
