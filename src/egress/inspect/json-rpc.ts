/** Calls of JSON-RPC 2.0, and of the Model Context Protocol over its Streamable HTTP transport. */
import { at } from '../../lib/json.ts';
import type { BodyFacts, RpcCall } from '../../policy/request.ts';
import { notJson, type SentRequest } from './sent-request.ts';
import { parseStrictJson } from './strict-json.ts';

interface Answering {
  /** Of the calls that wait for an answer, as far as they could be read. */
  readonly ids: readonly (string | number)[];
  readonly batch: boolean;
}
export type ReadRpc = Answering &
  (
    | { readonly ok: true; readonly body: Extract<BodyFacts, { kind: 'json-rpc' | 'mcp' }> }
    | { readonly ok: false; readonly detail: string }
  );

export interface McpOptions {
  /** Tool names have the characters the protocol recommends, and no more. */
  readonly strictToolNames: boolean;
}

/** More calls in one request are an attack on whoever judges them. */
const MAX_BATCH = 256;
const STRICT_TOOL_NAME = /^[A-Za-z0-9_.-]{1,128}$/;
const NOBODY: Answering = { ids: [], batch: false };

/** JSON-RPC 2.0 by POST: calls, and no answers of the client. */
export function readJsonRpc(request: SentRequest): ReadRpc {
  if (request.method !== 'POST') return { ok: false, detail: 'JSON-RPC goes by POST', ...NOBODY };
  return readCalls(request, 'json-rpc', (item) =>
    isResponse(item) ? 'the client sends a response, and nothing asks it anything' : undefined,
  );
}

/** MCP: POST of messages, GET of the server's stream, DELETE of the session. */
export function readMcp(request: SentRequest, { strictToolNames }: McpOptions): ReadRpc {
  const bare = bareCall(request);
  if (bare !== undefined) return { ok: true, body: { kind: 'mcp', calls: [bare] }, ...NOBODY };
  if (request.method !== 'POST') return { ok: false, detail: `MCP has no ${request.method}`, ...NOBODY };
  return readCalls(request, 'mcp', ({ method, params }) => {
    if (method !== 'tools/call') return undefined;
    const name = at(params, 'name');
    if (typeof name !== 'string') return 'tools/call has no params.name';
    return strictToolNames && !STRICT_TOOL_NAME.test(name)
      ? 'the name of the tool has characters outside A-Z a-z 0-9 _ . -'
      : undefined;
  });
}

/** The requests of the transport that carry no message. */
function bareCall({ method, accept, body }: SentRequest): RpcCall | undefined {
  if (body.length > 0) return undefined;
  const none = { method: '', tool: undefined, parameters: undefined };
  if (method === 'GET' && /(?:^|,)\s*text\/event-stream\s*(?:[,;]|$)/i.test(accept ?? ''))
    return { ...none, role: 'receive-stream' };
  return method === 'DELETE' ? { ...none, role: 'session-end' } : undefined;
}

interface Item {
  readonly method: unknown;
  readonly params: unknown;
  readonly result: unknown;
  readonly error: unknown;
}

function readCalls(
  request: SentRequest,
  kind: 'json-rpc' | 'mcp',
  problemOf: (item: Item) => string | undefined,
): ReadRpc {
  const unfit = notJson(request);
  if (unfit !== undefined) return { ok: false, detail: unfit, ...NOBODY };
  const parsed = parseStrictJson(request.body);
  if (!parsed.ok) return { ...parsed, ...NOBODY };
  const batch = Array.isArray(parsed.value);
  const items: readonly unknown[] = Array.isArray(parsed.value) ? parsed.value : [parsed.value];
  const answering = { ids: items.flatMap(waitingId), batch };
  if (items.length === 0) return { ok: false, detail: 'the batch is empty', ...answering };
  if (items.length > MAX_BATCH)
    return { ok: false, detail: `the batch has more than ${MAX_BATCH} calls`, ...answering };
  const calls: RpcCall[] = [];
  for (const item of items) {
    const call = readItem(item, problemOf);
    if (typeof call === 'string') return { ok: false, detail: call, ...answering };
    calls.push(call);
  }
  return { ok: true, body: { kind, calls }, ...answering };
}

/** The call, or what is wrong with it. */
function readItem(value: unknown, problemOf: (item: Item) => string | undefined): RpcCall | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'a message is no object';
  if (at(value, 'jsonrpc') !== '2.0') return 'a message is not of JSON-RPC 2.0';
  const item: Item = {
    method: at(value, 'method'),
    params: at(value, 'params'),
    result: at(value, 'result'),
    error: at(value, 'error'),
  };
  const { method, params } = item;
  if (isResponse(item)) {
    if (Object.hasOwn(value, 'method')) return 'a message is both a call and a response';
    return problemOf(item) ?? { method: '', role: 'response', tool: undefined, parameters: undefined };
  }
  if (typeof method !== 'string') return 'a message has no method';
  const problem = problemOf(item);
  if (problem !== undefined) return problem;
  if (method !== 'tools/call') return { method, role: 'call', tool: undefined, parameters: params };
  const name = at(params, 'name');
  const tool = typeof name === 'string' ? name : undefined;
  return { method, role: 'call', tool, parameters: at(params, 'arguments') };
}

function isResponse({ result, error }: Item): boolean {
  return result !== undefined || error !== undefined;
}

/** §4: a call without id is a notification, which nobody answers. */
function waitingId(item: unknown): (string | number)[] {
  const id = at(item, 'id');
  return (typeof id === 'string' || typeof id === 'number') && at(item, 'method') !== undefined ? [id] : [];
}
