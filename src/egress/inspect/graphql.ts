/** Operations of GraphQL over HTTP, read so that every server reads the same. */
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
} from 'graphql';
import type { BodyFacts, GraphqlOperation } from '../../policy/request.ts';
import { notJson, type SentRequest } from './sent-request.ts';
import { parseStrictJson } from './strict-json.ts';

export type ReadGraphql =
  | { readonly ok: true; readonly body: Extract<BodyFacts, { kind: 'graphql' }> }
  | { readonly ok: false; readonly detail: string };

export interface GraphqlOptions {
  /** By hash or id; others are refused. */
  readonly persisted: Readonly<Record<string, GraphqlOperation>>;
}

/** As the peer's and common servers' limits. */
const MAX_TOKENS = 20_000;
const MAX_DEPTH = 128;
const MAX_BATCH = 64;
/** Parameters that some servers take from the URL although the request is a POST. */
const PARAMETERS = ['query', 'operationName', 'variables', 'extensions', 'id', 'documentId', 'queryId'];
const ID_PARAMETERS = ['id', 'documentId', 'queryId'] as const;

class Unreadable extends Error {}

/** Never throws. */
export function readGraphql(request: SentRequest, options: GraphqlOptions): ReadGraphql {
  try {
    const payloads = request.method === 'GET' ? [fromQuery(request)] : fromBody(request);
    const operations = payloads.map((payload) => operationOf(payload, options));
    return { ok: true, body: { kind: 'graphql', operations } };
  } catch (error) {
    if (error instanceof Unreadable) return { ok: false, detail: error.message };
    throw error;
  }
}

/** One operation as a value that was JSON. Never throws. */
export function readGraphqlPayload(
  value: unknown,
  options: GraphqlOptions,
):
  | { readonly ok: true; readonly operation: GraphqlOperation }
  | { readonly ok: false; readonly detail: string } {
  try {
    const payload = new Map(Object.entries(asObject(value, 'an operation')));
    return { ok: true, operation: operationOf(payload, options) };
  } catch (error) {
    if (error instanceof Unreadable) return { ok: false, detail: error.message };
    throw error;
  }
}

type Payload = ReadonlyMap<string, unknown>;

function fromQuery({ query, body }: SentRequest): Payload {
  if (body.length > 0) throw new Unreadable('a GET has a body');
  const payload = new Map<string, unknown>();
  for (const [key, value] of query) {
    if (payload.has(key)) throw new Unreadable(`the parameter ${key} comes twice`);
    payload.set(key, key === 'extensions' ? jsonOf(Buffer.from(value)) : value);
  }
  return payload;
}

function fromBody(request: SentRequest): Payload[] {
  if (request.method !== 'POST') throw new Unreadable('GraphQL goes by GET or POST');
  const doubled = request.query.find(([key]) => PARAMETERS.includes(key));
  if (doubled !== undefined)
    throw new Unreadable(`${doubled[0]} stands in the URL of a POST, where servers differ in what counts`);
  const unfit = notJson(request);
  if (unfit !== undefined) throw new Unreadable(unfit);
  const value = jsonOf(request.body);
  const items: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (items.length === 0) throw new Unreadable('the batch is empty');
  if (items.length > MAX_BATCH) throw new Unreadable(`the batch has more than ${MAX_BATCH} operations`);
  return items.map((item) => new Map(Object.entries(asObject(item, 'an operation'))));
}

function operationOf(payload: Payload, { persisted }: GraphqlOptions): GraphqlOperation {
  const text = textOf(payload, 'query');
  const ids = ID_PARAMETERS.flatMap((key) => textOf(payload, key) ?? []);
  const hash = persistedHash(payload.get('extensions'));
  if (text !== undefined) {
    if (ids.length > 0) throw new Unreadable('an operation has both a query and the id of one');
    return parsedOperation(text, textOf(payload, 'operationName'));
  }
  if (ids.length > 1) throw new Unreadable('an operation has more than one id');
  const id = hash ?? ids[0];
  if (id === undefined) throw new Unreadable('an operation has no query');
  const registered = Object.hasOwn(persisted, id) ? persisted[id] : undefined;
  if (registered === undefined) throw new Unreadable('the persisted query is not registered in the policy');
  return registered;
}

function textOf(payload: Payload, key: string): string | undefined {
  const value = payload.get(key);
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw new Unreadable(`${key} is no text`);
  return value === '' ? undefined : value;
}

/** Automatic persisted queries. */
function persistedHash(extensions: unknown): string | undefined {
  if (extensions === undefined || extensions === null) return undefined;
  const entry: unknown = Reflect.get(asObject(extensions, 'extensions'), 'persistedQuery');
  if (entry === undefined || entry === null) return undefined;
  const hash: unknown = Reflect.get(asObject(entry, 'persistedQuery'), 'sha256Hash');
  if (typeof hash !== 'string') throw new Unreadable('persistedQuery has no sha256Hash');
  return hash;
}

function parsedOperation(text: string, wanted: string | undefined): GraphqlOperation {
  const document = parseText(text);
  const operations = document.definitions.filter((each) => each.kind === Kind.OPERATION_DEFINITION);
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const each of document.definitions) {
    if (each.kind === Kind.OPERATION_DEFINITION) continue;
    if (each.kind !== Kind.FRAGMENT_DEFINITION) throw new Unreadable('the document defines types');
    if (fragments.has(each.name.value)) throw new Unreadable('the document defines a fragment twice');
    fragments.set(each.name.value, each);
  }
  const operation = chosen(operations, wanted);
  const fields = new Set<string>();
  collectFields(operation.selectionSet, fragments, fields, new Set());
  return { type: operation.operation, name: operation.name?.value ?? '', fields: [...fields] };
}

function parseText(text: string): DocumentNode {
  if (nesting(text) > MAX_DEPTH) throw new Unreadable(`the query is nested deeper than ${MAX_DEPTH} levels`);
  try {
    return parse(text, { maxTokens: MAX_TOKENS, noLocation: true });
  } catch {
    throw new Unreadable(`the query is not GraphQL, or has more than ${MAX_TOKENS} tokens`);
  }
}

/** At most this deep: brackets in strings count too, which real queries have few of. */
function nesting(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (const character of text) {
    if ('{[('.includes(character)) deepest = Math.max(deepest, ++depth);
    else if ('}])'.includes(character)) depth = Math.max(0, depth - 1);
  }
  return deepest;
}

/** §6.1: the one that is named, or the only one. */
function chosen(
  operations: readonly OperationDefinitionNode[],
  wanted: string | undefined,
): OperationDefinitionNode {
  const names = operations.map(({ name }) => name?.value);
  if (new Set(names).size !== names.length)
    throw new Unreadable('the document has two operations of one name');
  const candidates =
    wanted === undefined ? operations : operations.filter(({ name }) => name?.value === wanted);
  const [only] = candidates;
  if (only !== undefined && candidates.length === 1) return only;
  throw new Unreadable(
    wanted === undefined
      ? 'the document has several operations, and none is named'
      : 'no operation has the name asked for',
  );
}

function collectFields(
  { selections }: SelectionSetNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
  fields: Set<string>,
  visited: Set<string>,
): void {
  for (const selection of selections) {
    if (selection.kind === Kind.FIELD) fields.add(selection.name.value);
    else if (selection.kind === Kind.INLINE_FRAGMENT)
      collectFields(selection.selectionSet, fragments, fields, visited);
    else {
      const { value: name } = selection.name;
      const fragment = fragments.get(name);
      if (fragment === undefined) throw new Unreadable('the query spreads a fragment that is not defined');
      if (visited.has(name)) continue;
      visited.add(name);
      collectFields(fragment.selectionSet, fragments, fields, visited);
    }
  }
}

function asObject(value: unknown, what: string): object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new Unreadable(`${what} is no object`);
}

function jsonOf(bytes: Uint8Array): unknown {
  const parsed = parseStrictJson(bytes);
  if (parsed.ok) return parsed.value;
  throw new Unreadable(parsed.detail);
}
