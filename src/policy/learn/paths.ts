/**
 * From paths that were seen to patterns. A segment becomes `*` where at least three siblings look like identifiers: numbers,
 * UUIDs, and long runs of hexadecimal digits or of letters and digits. Words stay as they are: `/users` and `/admin` are not alike.
 */

const MIN_SIBLINGS = 3;
const IDENTIFIERS: readonly RegExp[] = [
  /^\d+$/,
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
  /^(?=.*\d)[0-9a-f]{7,}$/i,
  /^(?=.*\d)(?=.*[A-Za-z])[0-9A-Za-z]{16,}$/,
];

interface Branch {
  readonly children: Map<string, Branch>;
  isEnd: boolean;
}

/** Patterns that together match every path, sorted. All begin with `/`. */
export function generalisePaths(paths: Iterable<string>): string[] {
  const root = branch();
  for (const path of paths) {
    let here = root;
    for (const segment of path.split('/').slice(1)) here = childOf(here, escapeGlob(segment));
    here.isEnd = true;
  }
  return patternsOf(root, '').toSorted();
}

/** A text as a pattern that matches nothing else. */
export function escapeGlob(text: string): string {
  return text.replaceAll(/[*?[\]{}\\]/g, '\\$&');
}

function patternsOf(here: Branch, prefix: string): string[] {
  const own = here.isEnd ? [prefix] : [];
  return [
    ...own,
    ...[...merged(here.children)].flatMap(([segment, child]) => patternsOf(child, `${prefix}/${segment}`)),
  ];
}

function merged(children: ReadonlyMap<string, Branch>): Map<string, Branch> {
  const result = new Map(children);
  for (const shape of IDENTIFIERS) {
    const alike = [...result].filter(([segment]) => shape.test(segment));
    if (alike.length < MIN_SIBLINGS) continue;
    const star = childOf({ children: result, isEnd: false }, '*');
    for (const [segment, child] of alike) {
      result.delete(segment);
      join(star, child);
    }
  }
  return result;
}

function join(into: Branch, from: Branch): void {
  into.isEnd ||= from.isEnd;
  for (const [segment, child] of from.children) join(childOf(into, segment), child);
}

function childOf({ children }: Branch, segment: string): Branch {
  const child = children.get(segment) ?? branch();
  children.set(segment, child);
  return child;
}

function branch(): Branch {
  return { children: new Map(), isEnd: false };
}
