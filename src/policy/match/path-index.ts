/**
 * Path globs with what they stand for. A look-up costs one step for each component of the path, and one run of each glob that
 * has the same literal beginning; how many others there are does not matter.
 */
import { type Glob, PATH_GLOB, parseGlob } from './glob.ts';

interface Node<T> {
  readonly children: Map<string, Node<T>>;
  /** Whose literal components end here. */
  readonly globs: { readonly matches: Glob['matches']; readonly value: T }[];
}

const GLOB_CHARACTER = /[*?[\]{}\\]/;

export class PathIndex<T> {
  /** Patterns without any glob character, by their text. */
  readonly #literal = new Map<string, T[]>();
  readonly #root: Node<T> = { children: new Map(), globs: [] };

  /** @throws TypeError for a glob that the parser of policies would have refused */
  add(pattern: string | undefined, value: T): void {
    if (pattern === undefined || pattern === '**') {
      this.#root.globs.push({ matches: () => true, value });
      return;
    }
    const special = pattern.search(GLOB_CHARACTER);
    if (special < 0) {
      const known = this.#literal.get(pattern);
      if (known === undefined) this.#literal.set(pattern, [value]);
      else known.push(value);
      return;
    }
    const glob = parseGlob(pattern, PATH_GLOB);
    if ('problem' in glob) throw new TypeError(`path ${pattern}: ${glob.problem}`);
    let node = this.#root;
    // The component with the first special character is not literal, and neither is what `/**/` may leave out.
    for (const component of pattern.slice(0, special).split('/').slice(1, -1)) {
      const next = node.children.get(component) ?? { children: new Map(), globs: [] };
      node.children.set(component, next);
      node = next;
    }
    node.globs.push({ matches: glob.matches, value });
  }

  /** What every pattern that matches the path stands for, in no order. */
  find(path: string): T[] {
    const found = [...(this.#literal.get(path) ?? [])];
    let node: Node<T> | undefined = this.#root;
    const components = path.split('/').slice(1);
    for (let depth = 0; node !== undefined; depth++) {
      for (const { matches, value } of node.globs) if (matches(path)) found.push(value);
      const component: string | undefined = components[depth];
      node = component === undefined ? undefined : node.children.get(component);
    }
    return found;
  }
}
