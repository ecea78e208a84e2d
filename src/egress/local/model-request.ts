/** A client's request to a model as the route's endpoint gets it: the operator's key and model in place of the client's. */
import { parseStrictJson } from '../inspect/strict-json.ts';
import { pairs } from '../relay/headers.ts';
import type { ModelRoute } from './model-routes.ts';
import type { ModelProtocol, ModelShape } from './model-shapes.ts';

/** What the body says of itself. */
export interface ModelQuestion {
  /** Undefined where the client names none. */
  readonly model: string | undefined;
  readonly streams: boolean;
  /** The members of the object, as written; undefined where there is no body. */
  readonly members: ReadonlyMap<string, string> | undefined;
}

export type ReadQuestion =
  | { readonly ok: true; readonly question: ModelQuestion }
  | { readonly ok: false; readonly detail: string };

export interface ModelRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly fields: readonly string[];
  readonly body: Buffer;
}

/** What clients may tell a provider, beside what the body says. */
const PASSED_FIELDS: readonly string[] = ['accept', 'user-agent', 'anthropic-version', 'anthropic-beta'];
const PASSED_TO_OPENAI: readonly string[] = ['openai-organization', 'openai-project', 'x-model-id'];
/** What Vertex AI wants in the body instead of a header. */
const VERTEX_VERSION = '"anthropic_version":"vertex-2023-10-16"';
/** Not in Vertex AI's schema, which refuses what it does not know. */
const NOT_FOR_VERTEX: readonly string[] = ['model', 'context_management'];

/** An object of strict JSON, with what is looked at in it. `shape` says whether there is one at all. */
export function readQuestion(shape: ModelShape, body: Uint8Array): ReadQuestion {
  if (shape.protocol === 'model_discovery')
    return { ok: true, question: { model: shape.model, streams: false, members: undefined } };
  const parsed = parseStrictJson(body);
  if (!parsed.ok) return parsed;
  const { value, members } = parsed;
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return { ok: false, detail: 'the body is no JSON object' };
  const { model, stream } = value as { readonly model?: unknown; readonly stream?: unknown };
  if (model !== undefined && typeof model !== 'string') return { ok: false, detail: 'model is no text' };
  const streams = shape.mayStream && stream === true;
  return { ok: true, question: { model: shape.model ?? model, streams, members } };
}

/** The routes that may answer, the first first: those that ask for this very model before those that take any. */
export function routesFor(
  routes: readonly ModelRoute[],
  protocol: ModelProtocol,
  model: string | undefined,
): ModelRoute[] {
  const able = routes.filter((route) => route.protocols.includes(protocol));
  const named = able.filter(
    ({ models }) => model !== undefined && models?.some((glob) => glob.matches(model)) === true,
  );
  return [...named, ...able.filter(({ models }) => models === undefined)];
}

/** Pure. `fields` are the client's, as a flat list. */
export function modelRequest(
  { protocol, path, query }: ModelShape,
  { members, streams }: ModelQuestion,
  fields: readonly string[],
  route: ModelRoute,
): ModelRequest {
  const isVertex = protocol === 'anthropic_messages' && route.modelInPath;
  return {
    method: protocol === 'model_discovery' ? 'GET' : 'POST',
    path: `${route.basePath}${isVertex ? vertexPath(route, streams) : providerPath(route, protocol, path)}${isVertex ? '' : query}`,
    fields: [...passed(fields, route, isVertex), ...ownFields(route, members !== undefined)],
    body: Buffer.from(members === undefined ? '' : bodyText(members, protocol, isVertex, route)),
  };
}

function vertexPath({ model }: ModelRoute, streams: boolean): string {
  return `/${encodeURIComponent(model)}:${streams ? 'streamRawPredict' : 'rawPredict'}`;
}

/** Endpoints are given with or without the version that the path begins with. */
function providerPath({ basePath, model }: ModelRoute, protocol: ModelProtocol, path: string): string {
  if (protocol === 'aws_bedrock_invoke') return `/model/${encodeURIComponent(model)}/invoke`;
  return basePath.endsWith('/v1') ? path.slice('/v1'.length) : path;
}

function passed(
  fields: readonly string[],
  { fields: own, provider }: ModelRoute,
  isVertex: boolean,
): string[] {
  const allowed =
    provider === 'anthropic' || isVertex ? PASSED_FIELDS : [...PASSED_FIELDS, ...PASSED_TO_OPENAI];
  const kept: string[] = [];
  for (const [sent, value] of pairs(fields)) {
    const name = sent.toLowerCase();
    const isOurs = own.some(([ours]) => ours === name);
    if (!allowed.includes(name) || isOurs || (isVertex && name.startsWith('anthropic-'))) continue;
    kept.push(name, value);
  }
  return kept;
}

/** Answers come as they are: castellan reads their counts, and ends what breaks off in words. */
function ownFields({ fields }: ModelRoute, hasBody: boolean): string[] {
  return [
    ...(hasBody ? ['content-type', 'application/json'] : []),
    'accept-encoding',
    'identity',
    ...fields.flat(),
  ];
}

function bodyText(
  members: ReadonlyMap<string, string>,
  protocol: ModelProtocol,
  isVertex: boolean,
  { model }: ModelRoute,
): string {
  const changed = new Map(members);
  if (isVertex) {
    for (const key of NOT_FOR_VERTEX) changed.delete(key);
    if (!changed.has('anthropic_version')) changed.set('anthropic_version', VERTEX_VERSION);
  } else if (protocol !== 'aws_bedrock_invoke') changed.set('model', `"model":${JSON.stringify(model)}`);
  return `{${[...changed.values()].join(',')}}`;
}
