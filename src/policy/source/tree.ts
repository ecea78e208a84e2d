/**
 * YAML text as a tree of maps, lists and scalars that know where they stand. Anchors and aliases are resolved within a
 * budget; tags, directives, duplicate keys and second documents are problems.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseAllDocuments,
  parseDocument,
} from 'yaml';
import { escapeText } from '../../lib/escape.ts';
import type { SourcePosition } from '../document.ts';
import { type Findings, MAX_PROBLEMS, quote, refuse } from './findings.ts';

interface Located {
  readonly position: SourcePosition;
  /** About the characters it was written with, aliases written out. */
  readonly weight: number;
}

export interface ScalarNode extends Located {
  readonly kind: 'scalar';
  readonly value: string | number | boolean | null;
  /** As written, without quotes. */
  readonly source: string;
}

export interface ListNode extends Located {
  readonly kind: 'list';
  readonly items: readonly TreeNode[];
}

export interface MapNode extends Located {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, MapEntry>;
}

export interface MapEntry {
  readonly keyPosition: SourcePosition;
  readonly value: TreeNode;
}

export type TreeNode = ScalarNode | ListNode | MapNode;

/** A policy is seven levels deep. */
const MAX_DEPTH = 32;
/** Aliases may repeat this much text, so that a small file cannot stand for a huge policy. */
const MAX_ALIASED_WEIGHT = 1024 * 1024;

/**
 * Reads the text; undefined where it is no single YAML document, with the problems noted. Keys and scalars of more than
 * `longest` characters are problems.
 */
export function readTree(
  text: string,
  findings: Findings,
  longest = Number.POSITIVE_INFINITY,
): TreeNode | undefined {
  return readDocuments(findings, longest, (options) => [parseDocument<ParsedNode>(text, options)])?.[0];
}

/** Reads a text of any number of documents; empty ones are left out. Undefined where it is no YAML, with the problems noted. */
export function readTrees(text: string, findings: Findings): readonly TreeNode[] | undefined {
  // Without any document there is an empty list with marks on it.
  return readDocuments(findings, Number.POSITIVE_INFINITY, (options) => [
    ...parseAllDocuments<ParsedNode>(text, options),
  ])?.filter((tree) => tree.kind !== 'scalar' || tree.value !== null);
}

type Parse = (
  options: typeof OPTIONS & { readonly lineCounter: LineCounter },
) => Document.Parsed<ParsedNode>[];

const OPTIONS = {
  logLevel: 'error', // 'silent' would also pass over a second document
  prettyErrors: false,
  schema: 'core',
  stringKeys: true,
  resolveKnownTags: false,
  uniqueKeys: false, // compared pairwise there; found by a map below
} as const;

function readDocuments(findings: Findings, longest: number, parse: Parse): TreeNode[] | undefined {
  const lines = new LineCounter();
  const documents = parseYaml(parse, lines, findings);
  const problems = documents?.flatMap(({ errors, warnings }) => [...errors, ...warnings]) ?? [];
  for (const { pos, message } of problems.slice(0, MAX_PROBLEMS))
    refuse(findings, positionAt(lines, pos[0]), escapeText(message.replaceAll(/\s+/g, ' ')));
  if (documents === undefined || findings.problems.length > 0) return undefined;
  // Anchors end with their document.
  return documents.map(({ contents }) => new TreeReader(lines, findings, longest).read(contents, 0));
}

function parseYaml(parse: Parse, lines: LineCounter, findings: Findings) {
  try {
    return parse({ ...OPTIONS, lineCounter: lines });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return refuse(findings, { line: 1, column: 1 }, 'is nested too deeply');
  }
}

class TreeReader {
  readonly #lines: LineCounter;
  readonly #findings: Findings;
  readonly #anchors = new Map<string, TreeNode>();
  readonly #longest: number;
  #aliasedWeight = 0;

  constructor(lines: LineCounter, findings: Findings, longest: number) {
    this.#lines = lines;
    this.#findings = findings;
    this.#longest = longest;
  }

  read(node: ParsedNode | null, depth: number): TreeNode {
    const position = positionAt(this.#lines, node?.range[0] ?? 0);
    if (isAlias(node)) return this.#alias(node.source, position);
    const anchor = node?.anchor;
    // An alias inside the node it names must not find an older node of the same name.
    if (anchor !== undefined) this.#anchors.delete(anchor);
    const tree = this.#readPlain(node, position, depth);
    if (anchor !== undefined) this.#anchors.set(anchor, tree);
    return tree;
  }

  #readPlain(node: ParsedNode | null, position: SourcePosition, depth: number): TreeNode {
    if (depth > MAX_DEPTH) {
      refuse(this.#findings, position, `is nested deeper than ${MAX_DEPTH} levels`);
      return absent(position);
    }
    if (isMap(node)) return this.#map(node.items, position, depth);
    if (isSeq(node)) {
      const items = node.items.map((item) => this.read(item, depth + 1));
      return { kind: 'list', items, position, weight: totalWeight(items) };
    }
    if (!isScalar(node)) return absent(position);
    const { value } = node;
    const source = typeof node.source === 'string' ? node.source : '';
    const weight = source.length + 1;
    if (typeof value === 'string') this.#checkLength(value, position);
    if (value === null || ['string', 'number', 'boolean'].includes(typeof value))
      return { kind: 'scalar', value: value as ScalarNode['value'], source, position, weight };
    refuse(this.#findings, position, 'is a value of an unknown kind');
    return absent(position);
  }

  #map(
    pairs: readonly { key: ParsedNode; value: ParsedNode | null }[],
    position: SourcePosition,
    depth: number,
  ): MapNode {
    const entries = new Map<string, MapEntry>();
    let weight = 1;
    for (const { key, value } of pairs) {
      const keyPosition = positionAt(this.#lines, key.range[0]);
      const name = isScalar(key) && typeof key.value === 'string' ? key.value : undefined;
      if (name === undefined) {
        refuse(this.#findings, keyPosition, 'a key has to be a plain word');
        continue;
      }
      this.#checkLength(name, keyPosition);
      const first = entries.get(name);
      if (first !== undefined) {
        refuse(
          this.#findings,
          keyPosition,
          `key ${quote(name)} is given twice, first in line ${first.keyPosition.line}`,
        );
        continue;
      }
      const tree = value === null ? absent(keyPosition) : this.read(value, depth + 1);
      entries.set(name, { keyPosition, value: tree });
      weight += name.length + 1 + tree.weight;
    }
    return { kind: 'map', entries, position, weight };
  }

  #checkLength(text: string, position: SourcePosition): void {
    if (text.length > this.#longest)
      refuse(this.#findings, position, `a text is longer than ${this.#longest} characters`);
  }

  #alias(name: string, position: SourcePosition): TreeNode {
    const target = this.#anchors.get(name);
    if (target === undefined) {
      refuse(this.#findings, position, `alias ${quote(name)} names no anchor before it`);
      return absent(position);
    }
    this.#aliasedWeight += target.weight;
    if (this.#aliasedWeight <= MAX_ALIASED_WEIGHT) return target;
    refuse(this.#findings, position, `aliases repeat more than ${MAX_ALIASED_WEIGHT} characters`);
    return absent(position);
  }
}

function totalWeight(nodes: readonly TreeNode[]): number {
  return nodes.reduce((sum, { weight }) => sum + weight, 1);
}

function absent(position: SourcePosition): ScalarNode {
  return { kind: 'scalar', value: null, source: '', position, weight: 1 };
}

function positionAt(lines: LineCounter, offset: number): SourcePosition {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}
