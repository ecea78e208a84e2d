/** The requests to models that inference.local takes: OpenAI's, Anthropic's and Bedrock's, by method and path. */

export const MODEL_PROTOCOLS = [
  'openai_chat_completions',
  'openai_completions',
  'openai_responses',
  'openai_embeddings',
  'anthropic_messages',
  'aws_bedrock_invoke',
  'model_discovery',
] as const;
export type ModelProtocol = (typeof MODEL_PROTOCOLS)[number];

export interface ModelShape {
  readonly protocol: ModelProtocol;
  /** As the client wrote it, without query. */
  readonly path: string;
  /** With its question mark; empty where there is none. */
  readonly query: string;
  /** Named in the path; the body tells it otherwise. */
  readonly model: string | undefined;
  /** Whether the answer may come as a stream of events. */
  readonly mayStream: boolean;
}

type Row = readonly [method: 'GET' | 'POST', path: RegExp, protocol: ModelProtocol, streaming?: 'may stream'];

const ROWS: readonly Row[] = [
  ['POST', /^\/v1\/chat\/completions$/, 'openai_chat_completions', 'may stream'],
  ['POST', /^\/v1\/completions$/, 'openai_completions', 'may stream'],
  ['POST', /^\/v1\/responses$/, 'openai_responses', 'may stream'],
  ['POST', /^\/v1\/embeddings$/, 'openai_embeddings'],
  ['POST', /^\/v1\/messages$/, 'anthropic_messages', 'may stream'],
  ['POST', /^\/v1\/messages\/count_tokens$/, 'anthropic_messages'],
  ['POST', /^\/model\/(?<model>[A-Za-z0-9._:%-]{1,256})\/invoke$/, 'aws_bedrock_invoke'],
  ['GET', /^\/v1\/models$/, 'model_discovery'],
  ['GET', /^\/v1\/models\/(?<model>[A-Za-z0-9._:%/-]{1,256})$/, 'model_discovery'],
];

/** What the request asks of a model; undefined for all that is no such request. */
export function modelShape(method: string, target: string): ModelShape | undefined {
  const [path = '', ...rest] = target.split('?');
  const query = rest.length === 0 ? '' : `?${rest.join('?')}`;
  for (const [wanted, pattern, protocol, streaming] of ROWS) {
    const groups = method === wanted ? pattern.exec(path) : null;
    if (groups === null) continue;
    const named = groups.groups?.['model'];
    const model = named && modelName(named);
    if (named !== model && model === undefined) return undefined;
    return { protocol, path, query, model, mayStream: streaming !== undefined };
  }
  return undefined;
}

/** Undefined for what is no name: the path goes out with the operator's key, and must lead nowhere else, however it is read. */
function modelName(text: string): string | undefined {
  try {
    const name = decodeURIComponent(text);
    const isPlain = /^[A-Za-z0-9._:@/-]+$/.test(name);
    return isPlain && !name.split('/').some((part) => /^\.{0,2}$/.test(part)) ? name : undefined;
  } catch {
    return undefined;
  }
}
