/** Requests judged as the policy language's description reads, one endpoint after the other. */
import type {
  Endpoint,
  Inspection,
  NetworkRule,
  RequestPattern,
  ValuePattern,
} from '../../src/policy/document.ts';
import { PATH_GLOB, TEXT_GLOB } from '../../src/policy/match/glob.ts';
import { KNOWN_MCP_METHODS } from '../../src/policy/mcp-methods.ts';
import type { GraphqlOperation, RequestFacts, RpcCall } from '../../src/policy/request.ts';
import { naiveGlob } from './naive-glob.ts';

export interface InspectedOwner {
  readonly rule: string;
  readonly endpoint: Endpoint;
  readonly inspection: Inspection;
}

type Part =
  | { readonly kind: 'http'; readonly method: string }
  | { readonly kind: 'graphql'; readonly operation: GraphqlOperation }
  | { readonly kind: 'rpc'; readonly call: RpcCall };

/** The endpoints of rules about the binary, for a destination that matches them all. */
export function inspectedOwners(
  rules: readonly NetworkRule[],
  applies: (rule: NetworkRule, endpoint: Endpoint) => boolean,
): InspectedOwner[] {
  return rules.flatMap((rule) =>
    rule.endpoints.flatMap((endpoint) =>
      endpoint.inspection !== undefined && applies(rule, endpoint)
        ? [{ rule: rule.name, endpoint, inspection: endpoint.inspection }]
        : [],
    ),
  );
}

/** The endpoint that says how a request to the path is read; undefined where none is about all its readings. */
export function naiveRoute(
  owners: readonly InspectedOwner[],
  paths: readonly string[],
): InspectedOwner | undefined {
  return about(owners, paths).toSorted(
    (a, b) =>
      specificity(b) - specificity(a) ||
      closeness(b.endpoint) - closeness(a.endpoint) ||
      (a.rule < b.rule ? -1 : 1),
  )[0];
}

export interface NaiveJudgement {
  readonly passes: boolean;
  readonly violates: boolean;
}

export function judgeNaively(owners: readonly InspectedOwner[], facts: RequestFacts): NaiveJudgement {
  const route = naiveRoute(owners, facts.path.allow);
  if (route === undefined) return { passes: false, violates: true };
  const parts = partsOf(facts);
  const carrier: Part = { kind: 'http', method: facts.method };
  const refusing = facts.path.deny.flatMap((path) =>
    about(owners, [path]).filter(({ inspection }) =>
      inspection.deny.some(
        (pattern) =>
          isAbout(pattern, path) &&
          [...parts, carrier].some((part) => matches(pattern, part, facts.query, false)),
      ),
    ),
  );
  const allies = about(owners, facts.path.allow).filter(
    ({ endpoint }) => endpoint.protocol === route.endpoint.protocol,
  );
  const isListed = parts.every(
    (part) =>
      passesAnyway(part, allies) ||
      facts.path.allow.every((path) =>
        allies.some(({ inspection }) =>
          inspection.allow.some(
            (pattern) => isAbout(pattern, path) && matches(pattern, part, facts.query, true),
          ),
        ),
      ),
  );
  const violates = refusing.length > 0 || !isListed;
  const audits = [route, ...refusing].every(({ inspection }) => inspection.enforcement === 'audit');
  return { passes: !violates || audits, violates };
}

function about(owners: readonly InspectedOwner[], paths: readonly string[]): InspectedOwner[] {
  return owners.filter(({ inspection }) =>
    paths.every((path) => naiveGlob(inspection.path ?? '**', PATH_GLOB).test(path)),
  );
}

function specificity({ inspection }: InspectedOwner): number {
  return inspection.path === undefined ? -1 : inspection.path.replaceAll('*', '').length;
}

function closeness({ host }: Endpoint): number {
  return host === '' ? 0 : host.includes('*') ? 1 : 2;
}

function partsOf({ method, body }: RequestFacts): Part[] {
  switch (body.kind) {
    case 'uninspected':
      return [{ kind: 'http', method }];
    case 'websocket-text':
      return [{ kind: 'http', method: 'WEBSOCKET_TEXT' }];
    case 'graphql':
      return body.operations.map((operation) => ({ kind: 'graphql', operation }));
    default:
      return body.calls.map((call) => ({ kind: 'rpc', call }));
  }
}

function isAbout(pattern: RequestPattern, path: string): boolean {
  return (
    pattern.kind !== 'http' || pattern.path === undefined || naiveGlob(pattern.path, PATH_GLOB).test(path)
  );
}

function matches(pattern: RequestPattern, part: Part, query: RequestFacts['query'], all: boolean): boolean {
  const quantified = <T>(items: readonly T[], test: (item: T) => boolean): boolean =>
    items.length > 0 && (all ? items.every(test) : items.some(test));
  if (pattern.kind === 'http' && part.kind === 'http') {
    const { method } = pattern;
    if (
      method !== undefined &&
      method !== '*' &&
      method !== part.method &&
      !(method === 'GET' && part.method === 'HEAD')
    )
      return false;
    const asked = part.method === 'WEBSOCKET_TEXT' ? [] : query;
    return pattern.query.every(({ key, any }) =>
      quantified(
        asked.filter(([name]) => name === key),
        ([, value]) => anyMatches(any, value),
      ),
    );
  }
  if (pattern.kind === 'graphql' && part.kind === 'graphql') {
    const { type, name, fields } = part.operation;
    if (![undefined, '*', type].includes(pattern.operationType)) return false;
    if (pattern.operationName !== undefined && !anyMatches([pattern.operationName], name)) return false;
    return pattern.fields.length === 0 || quantified(fields, (field) => anyMatches(pattern.fields, field));
  }
  if (pattern.kind !== 'rpc' || part.kind !== 'rpc' || part.call.role !== 'call') return false;
  const { method, tool, parameters } = part.call;
  if (pattern.method !== undefined && !anyMatches([pattern.method], method)) return false;
  if (pattern.tool.length > 0 && (tool === undefined || !anyMatches(pattern.tool, tool))) return false;
  return pattern.arguments.every((value) => argumentMatches(value, parameters, all));
}

function argumentMatches({ key, any }: ValuePattern, parameters: unknown, all: boolean): boolean {
  if (typeof parameters !== 'object' || parameters === null || !Object.hasOwn(parameters, key)) return false;
  const value = (parameters as Record<string, unknown>)[key];
  const words = scalars(value);
  if (all) return typeof value !== 'object' && words.length === 1 && anyMatches(any, words[0] ?? '');
  return words.some((word) => anyMatches(any, word));
}

function scalars(value: unknown): string[] {
  if (value === null || value === undefined) return [];
  if (typeof value !== 'object') return [String(value)];
  return Object.entries(value).flatMap(([key, each]) => [key, ...scalars(each)]);
}

function anyMatches(patterns: readonly string[], text: string): boolean {
  return patterns.some((pattern) => naiveGlob(pattern, TEXT_GLOB).test(text));
}

function passesAnyway(part: Part, allies: readonly InspectedOwner[]): boolean {
  if (part.kind !== 'rpc') return false;
  if (part.call.role !== 'call') return true;
  const isKnown = KNOWN_MCP_METHODS.has(part.call.method);
  if (!isKnown || !allies.some(({ inspection }) => inspection.allowKnownMethods)) return false;
  const narrows = allies.some(({ inspection }) =>
    inspection.allow.some(
      (pattern) => pattern.kind === 'rpc' && (pattern.tool.length > 0 || pattern.arguments.length > 0),
    ),
  );
  return part.call.method !== 'tools/call' || !narrows;
}
