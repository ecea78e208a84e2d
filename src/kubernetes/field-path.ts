/** Where a field is: `spec.containers[0].env`, and `metadata.annotations["a.b/c"]` for words that are no plain ones. */
export function joinPath(path: string, key: string): string {
  if (!/^[A-Za-z_$][\w$-]*$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === '' ? key : `${path}.${key}`;
}

/** The keys and indices of a path, in order. */
export function pathKeys(path: string): string[] {
  return [...path.matchAll(/\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.[\]]+)/g)].map(
    ([, quoted, index, word]) =>
      (quoted === undefined ? undefined : String(JSON.parse(`"${quoted}"`))) ?? index ?? word ?? '',
  );
}
