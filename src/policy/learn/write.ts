/** Learned rules as text. Every value from a log is quoted or escaped: no name can become a rule, a comment's end or a terminal's command. */
import { Document, Pair, Scalar, type YAMLMap, type YAMLSeq } from 'yaml';
import { escapeText } from '../../lib/escape.ts';
import { escapeGlob } from './paths.ts';
import type { LearnedRule, PlacedEndpoint } from './rules.ts';

/** Programs that run whatever they are given. */
const INTERPRETERS =
  /^(?:node|nodejs|deno|bun|python[\d.]*|pypy[\d.]*|ruby[\d.]*|perl[\d.]*|php[\d.]*|lua[\d.]*|java|sh|bash|dash|zsh|ash|busybox|pwsh)$/;
/** Where programs of the image are, which an agent cannot write. */
const SYSTEM = /^\/(?:usr|bin|sbin|lib|lib64|opt)\//;
/** Hosts of one domain before a wildcard is worth a thought. */
const MIN_SIBLINGS = 3;

export interface WriteOptions {
  /** Above everything, a line each. */
  readonly heading: readonly string[];
}

/** A policy of these rules and nothing else. */
export function writePolicy(rules: readonly LearnedRule[], { heading }: WriteOptions): string {
  const document = new Document({ version: 1 });
  const network = document.createNode({}) as YAMLMap;
  for (const rule of rules) network.add(writeRule(rule, document));
  document.add(document.createPair('network_policies', network));
  document.commentBefore = comment(heading);
  return escapeInvisible(document.toString({ lineWidth: 0, flowCollectionPadding: true }));
}

/** The same as a comment, below a policy. */
export function writeSuggestion(rules: readonly LearnedRule[], heading: string): string {
  const [, ...lines] = writePolicy(rules, { heading: [] }).trimEnd().split('\n');
  return ['', `# ${heading}`, ...lines.map((line) => `#   ${line}`), ''].join('\n');
}

function writeRule({ name, endpoints, binaries }: LearnedRule, document: Document): Pair {
  const key = new Scalar(name);
  const thoughts = wildcards(endpoints);
  if (thoughts.length > 0) key.commentBefore = comment(thoughts);
  const value = document.createNode({}) as YAMLMap;
  const endpointList = document.createNode([]) as YAMLSeq;
  for (const placed of endpoints) endpointList.add(writeEndpoint(placed, document));
  const binaryList = document.createNode([]) as YAMLSeq;
  for (const path of binaries) {
    const item = quoted({ path: pathPattern(path) }, document);
    const remarks = [
      ...(INTERPRETERS.test(path.slice(path.lastIndexOf('/') + 1))
        ? ['an interpreter: whatever it runs has these rights']
        : []),
      ...(SYSTEM.test(path) ? [] : ['whoever may write this program has these rights']),
    ];
    if (remarks.length > 0) item.commentBefore = comment(remarks);
    binaryList.add(item);
  }
  value.add(document.createPair('endpoints', endpointList));
  value.add(document.createPair('binaries', binaryList));
  return new Pair(key, value);
}

/** As a pattern only where a star would make it one. */
function pathPattern(path: string): string {
  return path.includes('*') ? escapeGlob(path) : path;
}

function writeEndpoint({ endpoint, ports, tally }: PlacedEndpoint, document: Document): YAMLMap {
  const { host, rules, ...options } = endpoint;
  const [port] = ports;
  const node = quoted({ host, ...(ports.length === 1 ? { port } : { ports }), ...options }, document);
  if (rules !== undefined) {
    // Endpoints with rules take a line for each.
    node.flow = false;
    const list = document.createNode([]) as YAMLSeq;
    for (const rule of rules) list.add(quoted(rule, document));
    node.add(document.createPair('rules', list));
  }
  const { count, audited, refused, first, last, events } = tally;
  const seen = Math.max(count, audited, refused);
  const remarks = [
    `seen ${seen === 1 ? 'once' : `${seen} times`}`,
    ...(audited > 0 ? [`${audited} only by audit`] : []),
    ...(refused > 0 ? [`${refused} refused`] : []),
    `${new Date(first).toISOString()} to ${new Date(last).toISOString()}`,
  ];
  node.commentBefore = comment([
    remarks.join(', '),
    `from ${events.map((event) => escapeText(event, 80)).join(', ')}`,
    ...(options.allowed_ips === undefined ? [] : ['not public; the addresses are those that were seen']),
  ]);
  return node;
}

/** On one line, its texts in double quotes. */
function quoted(value: object, document: Document): YAMLMap {
  const node = document.createNode(value, { keepUndefined: false }) as YAMLMap;
  const walk = (each: unknown, isKey: boolean): void => {
    if (each instanceof Scalar) {
      if (typeof each.value === 'string' && !isKey) each.type = Scalar.QUOTE_DOUBLE;
    } else if (each instanceof Pair) {
      walk(each.key, true);
      walk(each.value, false);
    } else if (typeof each === 'object' && each !== null && 'items' in each && Array.isArray(each.items)) {
      Reflect.set(each, 'flow', true);
      for (const item of each.items) walk(item, false);
    }
  };
  walk(node, false);
  return node;
}

function wildcards(endpoints: readonly PlacedEndpoint[]): string[] {
  const hosts = [...new Set(endpoints.map(({ endpoint }) => endpoint.host))].filter((host) =>
    /[a-z]/.test(host),
  );
  const families = Map.groupBy(hosts, (host) => host.slice(host.indexOf('.') + 1));
  return [...families]
    .filter(([domain, members]) => members.length >= MIN_SIBLINGS && domain.includes('.'))
    .map(
      ([domain, members]) =>
        `${members.length} hosts below ${domain}: "*.${domain}" would stand for them, and for all others there`,
    );
}

function comment(lines: readonly string[]): string {
  return lines.map((line) => ` ${escapeText(line, 500)}`).join('\n');
}

/** Characters that a terminal obeys; where they stand in a value it is quoted, so that the escape means the same. */
function escapeInvisible(text: string): string {
  return text.replaceAll(
    /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu,
    (character) => {
      const hex = (character.codePointAt(0) ?? 0).toString(16);
      return hex.length > 4 ? `\\U${hex.padStart(8, '0')}` : `\\u${hex.padStart(4, '0')}`;
    },
  );
}
