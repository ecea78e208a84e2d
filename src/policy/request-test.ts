/** Rules about requests as functions over the parts of a request. */
import { escapeText } from '../lib/escape.ts';
import type { RequestPattern, ValuePattern } from './document.ts';
import { parseGlob, TEXT_GLOB } from './match/glob.ts';
import { type GraphqlOperation, type RequestFacts, type RpcCall, WEBSOCKET_TEXT } from './request.ts';

/** One part of a request that is judged by itself. */
export type Subject =
  | {
      readonly kind: 'http';
      readonly method: string;
      readonly query: RequestFacts['query'];
      /** As it is told. */
      readonly path: string;
    }
  | { readonly kind: 'graphql'; readonly operation: GraphqlOperation }
  | { readonly kind: 'rpc'; readonly call: RpcCall };

/** Whether a rule is about a subject. `every` asks that all its values match, as allowing does; refusing takes one. */
export type RequestTest = (subject: Subject, every: boolean) => boolean;

/** The parts that have to be allowed: what the body holds where it was read, else the request itself. */
export function allowSubjects(facts: RequestFacts): Subject[] {
  const { body } = facts;
  switch (body.kind) {
    case 'uninspected':
      return [httpSubject(facts)];
    case 'websocket-text':
      return [textSubject(facts)];
    case 'graphql':
      return body.operations.map((operation) => ({ kind: 'graphql', operation }));
    case 'json-rpc':
    case 'mcp':
      return body.calls.map((call) => ({ kind: 'rpc', call }));
  }
}

/** The parts of which none may be refused: those that have to be allowed, and the request that carries them. */
export function denySubjects(facts: RequestFacts, allow: readonly Subject[]): readonly Subject[] {
  const { body } = facts;
  if (body.kind === 'uninspected') return allow;
  const isText = body.kind === 'graphql' && body.asText === true;
  return [...allow, httpSubject(facts), ...(isText ? [textSubject(facts)] : [])];
}

function textSubject(facts: RequestFacts): Subject {
  return { ...httpSubject(facts), method: WEBSOCKET_TEXT, query: [] };
}

function httpSubject({ method, path, query }: RequestFacts): Extract<Subject, { kind: 'http' }> {
  return { kind: 'http', method, query, path: path.allow[0] ?? '' };
}

/** A part of a request, for messages. */
export function labelOf(subject: Subject): string {
  switch (subject.kind) {
    case 'http':
      return brief(`${subject.method} ${subject.path}`);
    case 'graphql': {
      const { type, name, fields } = subject.operation;
      return brief(`${type} ${name || fields.join(', ')}`);
    }
    case 'rpc': {
      const { method, role, tool } = subject.call;
      return brief([method || role, tool].filter((word) => word !== undefined).join(' '));
    }
  }
}

/** Messages have room for a name, not for what an agent makes of one. */
const MAX_LABEL = 200;

/** A part of a request inside a message: one line, not too long. */
export function brief(text: string): string {
  return escapeText(text, MAX_LABEL);
}

/** @throws TypeError for a glob that the parser of policies would have refused */
export function compileTest(pattern: RequestPattern): RequestTest {
  switch (pattern.kind) {
    case 'http':
      return httpTest(pattern);
    case 'graphql':
      return graphqlTest(pattern);
    case 'rpc':
      return rpcTest(pattern);
  }
}

/** The path is the index's to compare. */
function httpTest({ method, query }: Extract<RequestPattern, { kind: 'http' }>): RequestTest {
  const values = query.map(valueTest);
  const isMethod = (sent: string) =>
    method === undefined || method === '*' || sent === method || (sent === 'HEAD' && method === 'GET');
  return (subject, every) =>
    subject.kind === 'http' &&
    isMethod(subject.method) &&
    values.every(({ key, matches }) => {
      const sent = subject.query.filter(([name]) => name === key).map(([, value]) => value);
      return sent.length > 0 && (every ? sent.every(matches) : sent.some(matches));
    });
}

function graphqlTest({
  operationType,
  operationName,
  fields,
}: Extract<RequestPattern, { kind: 'graphql' }>): RequestTest {
  const isName = operationName === undefined ? () => true : textTest([operationName]);
  const isField = textTest(fields);
  return (subject, every) => {
    if (subject.kind !== 'graphql') return false;
    const { type, name, fields: sent } = subject.operation;
    if (operationType !== undefined && operationType !== '*' && operationType !== type) return false;
    if (!isName(name)) return false;
    if (fields.length === 0) return true;
    return every ? sent.length > 0 && sent.every(isField) : sent.some(isField);
  };
}

function rpcTest({ method, tool, arguments: values }: Extract<RequestPattern, { kind: 'rpc' }>): RequestTest {
  const isMethod = method === undefined ? () => true : textTest([method]);
  const isTool = textTest(tool);
  const tests = values.map(valueTest);
  return (subject, every) => {
    if (subject.kind !== 'rpc' || subject.call.role !== 'call') return false;
    const { call } = subject;
    if (!isMethod(call.method)) return false;
    if (tool.length > 0 && (call.tool === undefined || !isTool(call.tool))) return false;
    return tests.every(({ key, matches }) => argumentMatches(call.parameters, key, matches, every));
  };
}

/** To allow, the argument has to be a single value; to refuse, any text or number anywhere in it will do. */
function argumentMatches(
  parameters: unknown,
  key: string,
  matches: (text: string) => boolean,
  every: boolean,
): boolean {
  if (typeof parameters !== 'object' || parameters === null || !Object.hasOwn(parameters, key)) return false;
  const value: unknown = Reflect.get(parameters, key);
  if (every) return isScalar(value) && matches(String(value));
  return scalarsOf(value).some((scalar) => matches(scalar));
}

function isScalar(value: unknown): boolean {
  return ['string', 'number', 'boolean'].includes(typeof value);
}

function scalarsOf(value: unknown): string[] {
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).flatMap(([key, each]) => [key, ...scalarsOf(each)]);
  return isScalar(value) ? [String(value)] : [];
}

function valueTest({ key, any }: ValuePattern): { key: string; matches: (text: string) => boolean } {
  return { key, matches: textTest(any) };
}

function textTest(patterns: readonly string[]): (text: string) => boolean {
  const globs = patterns.map((pattern) => {
    const glob = parseGlob(pattern, TEXT_GLOB);
    if ('problem' in glob) throw new TypeError(`${pattern}: ${glob.problem}`);
    return glob;
  });
  return (text) => globs.some((glob) => glob.matches(text));
}
