/**
 * Host patterns and the index over them. `*` is exactly one label, `**` one or more; neither matches the name without
 * them. A first label may hold `*` among letters. Patterns that could stand for a whole top-level domain are refused.
 */
import { parseHostName } from '../../protocol/host-name.ts';
import { canonicalAddress } from './address.ts';
import { type Glob, globsOverlap, HOST_GLOB, parseGlob } from './glob.ts';

export type HostPattern =
  | { readonly kind: 'any' }
  | { readonly kind: 'exact'; readonly host: string; readonly isAddress: boolean }
  | { readonly kind: 'wildcard'; readonly host: string };

export interface HostProblem {
  readonly problem: string;
}

/** A host of a request in the form rules are compared in: a canonical IP literal or a host name; undefined if neither. */
export function canonicalHost(text: string): string | undefined {
  return canonicalAddress(text) ?? parseHostName(text);
}

/** What an endpoint's host stands for; the empty text is any host. */
export function parseHostPattern(text: string): HostPattern | HostProblem {
  if (text === '') return { kind: 'any' };
  const address = canonicalAddress(text);
  if (address !== undefined) return { kind: 'exact', host: address, isAddress: true };
  if (/[^\x20-\x7e]/.test(text))
    return { problem: 'must be ASCII; write an international name in its xn-- form' };
  if (text.endsWith('.')) return { problem: 'must not end in a dot' };
  return text.includes('*') ? parseWildcard(text.toLowerCase()) : parseExact(text);
}

function parseExact(text: string): HostPattern | HostProblem {
  const host = parseHostName(text);
  if (host === undefined) return { problem: 'is neither a DNS name nor an IP address' };
  return { kind: 'exact', host, isAddress: false };
}

function parseWildcard(host: string): HostPattern | HostProblem {
  const labels = host.split('.');
  const later = labels.slice(1);
  if (later.some((label) => label !== '*' && label.includes('*')))
    return { problem: 'may have "**" or a "*" among letters only in its first label' };
  if (labels[0] !== '**' && labels[0]?.includes('**'))
    return { problem: 'may have "**" only as its whole first label' };
  const plain = labels.filter((label) => !label.includes('*'));
  if (plain.length < 2 || labels.at(-1) === '*')
    return { problem: 'covers a whole top-level domain; name at least the last label and one more' };
  if (parseHostName(host.replaceAll(/\*+/g, 'x')) === undefined)
    return { problem: 'is not a DNS name with wildcards' };
  return { kind: 'wildcard', host };
}

/** Whether some host matches both. */
export function hostPatternsOverlap(a: HostPattern, b: HostPattern): boolean {
  if (a.kind === 'any' || b.kind === 'any') return a.kind === b.kind;
  if (a.kind === 'exact' && b.kind === 'exact') return a.host === b.host;
  return labelsOverlap(a.host.split('.'), b.host.split('.'));
}

/** From the right; `**` is a first label only, and takes one label or more. */
function labelsOverlap(a: readonly string[], b: readonly string[]): boolean {
  const [lastA, lastB] = [a.at(-1), b.at(-1)];
  if (lastA === undefined || lastB === undefined) return lastA === lastB;
  if (lastA === '**' || lastB === '**') return true;
  if (!globsOverlap(lastA, lastB, HOST_GLOB)) return false;
  return labelsOverlap(a.slice(0, -1), b.slice(0, -1));
}

interface LabelNode<T> {
  readonly children: Map<string, LabelNode<T>>;
  /** First labels with a `*` among letters, by their text. */
  readonly partial: Map<string, { readonly glob: Glob; readonly entry: T }>;
  /** For names that end here. */
  entry: T | undefined;
  /** For names with one or more labels before this one. */
  deepEntry: T | undefined;
}

/** One entry for each different pattern, found in time that depends on the name and not on how many patterns there are. */
export class HostIndex<T> {
  readonly #exact = new Map<string, T>();
  readonly #root: LabelNode<T> = newNode();
  #any: T | undefined;

  /** The entry of a pattern, made at its first use. */
  entry(pattern: HostPattern, create: () => T): T {
    if (pattern.kind === 'any') {
      this.#any ??= create();
      return this.#any;
    }
    if (pattern.kind === 'wildcard') return this.#wildcardEntry(pattern.host, create);
    const entry = this.#exact.get(pattern.host) ?? create();
    this.#exact.set(pattern.host, entry);
    return entry;
  }

  /** The entries for a canonical host, by how closely they name it: exact, wildcards, any. */
  find(host: string): [exact: readonly T[], wildcards: readonly T[], any: readonly T[]] {
    const exact = this.#exact.get(host);
    const wildcards: T[] = [];
    // An address literal ends in a number or has no dot, and so reaches no wildcard.
    collect(this.#root, host.split('.'), wildcards);
    return [exact === undefined ? [] : [exact], wildcards, this.#any === undefined ? [] : [this.#any]];
  }

  #wildcardEntry(host: string, create: () => T): T {
    const [first = '', ...later] = host.split('.');
    const parent = later.reduceRight((node, label) => child(node, label), this.#root);
    if (first === '**') {
      parent.deepEntry ??= create();
      return parent.deepEntry;
    }
    if (first === '*' || !first.includes('*')) {
      const node = child(parent, first);
      node.entry ??= create();
      return node.entry;
    }
    const known = parent.partial.get(first);
    if (known !== undefined) return known.entry;
    const glob = parseGlob(first, HOST_GLOB);
    if ('problem' in glob) throw new TypeError(`host pattern ${host}: ${glob.problem}`);
    const entry = create();
    parent.partial.set(first, { glob, entry });
    return entry;
  }
}

function collect<T>(node: LabelNode<T>, labels: readonly string[], found: T[]): void {
  const label = labels.at(-1);
  if (label === undefined) {
    if (node.entry !== undefined) found.push(node.entry);
    return;
  }
  if (node.deepEntry !== undefined) found.push(node.deepEntry);
  if (labels.length === 1)
    for (const { glob, entry } of node.partial.values()) if (glob.matches(label)) found.push(entry);
  const rest = labels.slice(0, -1);
  for (const next of [node.children.get(label), node.children.get('*')])
    if (next !== undefined) collect(next, rest, found);
}

function child<T>(node: LabelNode<T>, label: string): LabelNode<T> {
  const known = node.children.get(label) ?? newNode<T>();
  node.children.set(label, known);
  return known;
}

function newNode<T>(): LabelNode<T> {
  return { children: new Map(), partial: new Map(), entry: undefined, deepEntry: undefined };
}
