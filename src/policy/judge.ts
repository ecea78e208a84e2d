/** Whether a request may pass, once its connection may. Allowing takes every reading of a request, refusing takes one. */
import { isDeepStrictEqual } from 'node:util';
import type { CredentialUse, Endpoint, InspectedProtocol, Inspection, RequestPattern } from './document.ts';
import { PathIndex } from './match/path-index.ts';
import { KNOWN_MCP_METHODS } from './mcp-methods.ts';
import type { PathReadings, RequestFacts } from './request.ts';
import {
  allowSubjects,
  brief,
  compileTest,
  denySubjects,
  labelOf,
  type RequestTest,
  type Subject,
} from './request-test.ts';
import type { DenyReason, DenyVerdict } from './verdict.ts';

export type RequestVerdict =
  | {
      readonly allow: true;
      readonly rule: string;
      /** What would have been refused, were the endpoint not in audit. */
      readonly violation: DenyVerdict | undefined;
    }
  | DenyVerdict;

/** The endpoints that allow one program one destination, as far as they are about requests. */
export interface RequestPolicy {
  /** Whether some endpoint takes paths with encoded slashes. */
  readonly encodedSlash: boolean;
  /** How requests to the path are read and judged; a denial where no endpoint is about it. */
  readonly route: (path: PathReadings) => Route | DenyVerdict;
}

/** The most specific endpoint for a path. */
export interface Route {
  readonly rule: string;
  readonly protocol: InspectedProtocol;
  readonly inspection: Inspection;
  /** A WebSocket whose messages are operations of GraphQL. */
  readonly speaksGraphql: boolean;
  readonly credentials?: CredentialUse | undefined;
  readonly judge: (request: Omit<RequestFacts, 'path'>) => RequestVerdict;
}

export interface InspectedEndpoint {
  readonly rule: string;
  readonly endpoint: Endpoint;
  readonly protocol: InspectedProtocol;
  readonly inspection: Inspection;
  /** Its rule has ended: it grants nothing, and still inspects and refuses. */
  readonly isOver: boolean;
}

interface Row<Owner> {
  readonly owner: Owner;
  readonly pattern: RequestPattern;
  readonly test: RequestTest;
}

/** All endpoints for one host pattern and port, to be asked about any program. */
export class RequestIndex<Owner extends InspectedEndpoint> {
  readonly #routes = new PathIndex<Owner>();
  readonly #allow = new PathIndex<Row<Owner>>();
  readonly #deny = new PathIndex<Row<Owner>>();
  readonly endpoints: readonly Owner[];

  constructor(endpoints: readonly Owner[]) {
    this.endpoints = endpoints;
    for (const owner of endpoints) {
      const { path, allow, deny } = owner.inspection;
      this.#routes.add(path, owner);
      for (const [index, patterns] of [
        [this.#allow, owner.isOver ? [] : allow],
        [this.#deny, deny],
      ] as const)
        for (const pattern of patterns)
          index.add(pattern.kind === 'http' ? pattern.path : undefined, {
            owner,
            pattern,
            test: compileTest(pattern),
          });
    }
  }

  routes(path: string): Owner[] {
    return this.#routes.find(path);
  }

  allowing(path: string): Row<Owner>[] {
    return this.#allow.find(path);
  }

  denying(path: string): Row<Owner>[] {
    return this.#deny.find(path);
  }
}

/** The policy for one program: `applies` tells which rules are about it. */
export function requestPolicy<Owner extends InspectedEndpoint>(
  indexes: readonly RequestIndex<Owner>[],
  applies: (owner: Owner) => boolean,
): RequestPolicy {
  const endpointsFor = ({ allow }: PathReadings): Owner[] =>
    inAll(allow.map((path) => indexes.flatMap((index) => index.routes(path)))).filter(applies);
  return {
    encodedSlash: indexes.some(({ endpoints }) =>
      endpoints.some((each) => each.inspection.allowEncodedSlash && applies(each)),
    ),
    route(path) {
      const endpoints = endpointsFor(path);
      const best = mostSpecific(endpoints);
      if (best === undefined)
        return denial('request_not_listed', `no endpoint is about the path ${brief(path.allow[0] ?? '')}`);
      const { rule, protocol, inspection, endpoint } = best;
      const owners = new Set(endpoints.filter((each) => each.protocol === protocol));
      return {
        rule,
        protocol,
        inspection,
        speaksGraphql: protocol === 'websocket' && speaksGraphql(inspection),
        // A right that has ended gives no secrets away.
        credentials: best.isOver ? undefined : endpoint.credentials,
        judge(request) {
          const facts = { ...request, path };
          const subjects = allowSubjects(facts);
          const hit = denyingRow(indexes, applies, path, denySubjects(facts, subjects));
          const refusal =
            hit === undefined ? unlisted(indexes, owners, path, subjects, rule) : refusedBy(hit);
          const isAudited =
            inspection.enforcement === 'audit' &&
            !best.isOver &&
            (hit === undefined || hit.row.owner.inspection.enforcement === 'audit');
          if (refusal === undefined || isAudited) return { allow: true, rule, violation: refusal };
          return refusal;
        },
      };
    },
  };
}

/** Endpoints of one path agree on it: the parser has seen to that. */
export function speaksGraphql({ allow, deny }: Pick<Inspection, 'allow' | 'deny'>): boolean {
  return [...allow, ...deny].some(({ kind }) => kind === 'graphql');
}

/** For programs that share a connection: what one of them may not, none may. */
export function jointPolicy(one: RequestPolicy, other: RequestPolicy): RequestPolicy {
  return {
    encodedSlash: one.encodedSlash && other.encodedSlash,
    route(path) {
      const [first, second] = [one.route(path), other.route(path)];
      if (!('judge' in first)) return first;
      if (!('judge' in second)) return second;
      const difference = differing(first, second);
      if (difference !== undefined)
        return denial('request_unreadable', `programs share the connection, ${difference}`);
      return {
        ...first,
        inspection: strictest(first.inspection, second.inspection),
        judge(request) {
          const judged = first.judge(request);
          if (!judged.allow) return judged;
          const again = second.judge(request);
          return again.allow && again.violation === undefined ? judged : again;
        },
      };
    },
  };
}

/** The same where the others' requests are not inspected: then all of them have these credentials, and no others. */
export function sharedPolicy(policy: RequestPolicy, credentials: CredentialUse | undefined): RequestPolicy {
  return {
    ...policy,
    route(path) {
      const route = policy.route(path);
      const isShared =
        !('judge' in route) ||
        route.credentials === undefined ||
        isDeepStrictEqual(route.credentials, credentials);
      return isShared ? route : denial('request_unreadable', `programs share the connection, ${TWO_USES}`);
    },
  };
}

const TWO_USES = 'and credentials are used in two ways for them';

/** What cannot be for both of them at once. */
function differing(one: Route, other: Route): string | undefined {
  if (!isDeepStrictEqual(one.credentials, other.credentials)) return TWO_USES;
  if (one.protocol !== other.protocol) return `for which it is ${one.protocol} and ${other.protocol}`;
  if (one.speaksGraphql !== other.speaksGraphql)
    return 'and only for some of them the WebSocket carries operations of GraphQL';
  return isDeepStrictEqual(one.inspection.persistedQueries, other.inspection.persistedQueries)
    ? undefined
    : 'which know different persisted queries';
}

/** How requests are read for both. */
function strictest(one: Inspection, other: Inspection): Inspection {
  return {
    ...one,
    allowEncodedSlash: one.allowEncodedSlash && other.allowEncodedSlash,
    maxBodyBytes: Math.min(one.maxBodyBytes, other.maxBodyBytes),
    strictToolNames: one.strictToolNames || other.strictToolNames,
  };
}

/** Among equals the one that names the host most closely, and among these, which the parser has seen to agree, the smallest rule name. */
function mostSpecific(endpoints: readonly InspectedEndpoint[]): InspectedEndpoint | undefined {
  let best: InspectedEndpoint | undefined;
  for (const each of endpoints) if (best === undefined || comesBefore(each, best)) best = each;
  return best;
}

function comesBefore(a: InspectedEndpoint, b: InspectedEndpoint): boolean {
  const difference =
    specificity(a.inspection) - specificity(b.inspection) || closeness(a.endpoint) - closeness(b.endpoint);
  if (difference !== 0) return difference > 0;
  return a.isOver === b.isOver ? a.rule < b.rule : b.isOver;
}

/** An exact host, a wildcard, or none: the order in which connections are decided too. */
function closeness({ host }: Endpoint): number {
  if (host === '') return 0;
  return host.includes('*') ? 1 : 2;
}

/** Characters of the path that are no stars. */
export function specificity({ path }: Pick<Inspection, 'path'>): number {
  return path === undefined ? -1 : path.replaceAll('*', '').length;
}

interface DenyHit {
  readonly row: Row<InspectedEndpoint>;
  readonly subject: Subject;
}

/** One that enforces comes before one that only audits: what is refused anywhere in earnest is refused. */
function denyingRow<Owner extends InspectedEndpoint>(
  indexes: readonly RequestIndex<Owner>[],
  applies: (owner: Owner) => boolean,
  { deny }: PathReadings,
  subjects: readonly Subject[],
): DenyHit | undefined {
  let audited: DenyHit | undefined;
  for (const path of deny) {
    const about = new Set(indexes.flatMap((index) => index.routes(path)));
    for (const row of indexes.flatMap((index) => index.denying(path))) {
      if (!about.has(row.owner) || !applies(row.owner)) continue;
      const subject = subjects.find((each) => row.test(each, false));
      if (subject === undefined) continue;
      if (row.owner.inspection.enforcement === 'enforce') return { row, subject };
      audited ??= { row, subject };
    }
  }
  return audited;
}

function refusedBy({ row: { owner, pattern }, subject }: DenyHit): DenyVerdict {
  return denial(
    'request_refused',
    `${labelOf(subject)} is refused by rule "${owner.rule}", line ${pattern.position.line}`,
    owner.rule,
  );
}

/** Each part of the request has to be allowed in every reading, by whichever rule. */
function unlisted<Owner extends InspectedEndpoint>(
  indexes: readonly RequestIndex<Owner>[],
  endpoints: ReadonlySet<Owner>,
  { allow }: PathReadings,
  subjects: readonly Subject[],
  rule: string,
): DenyVerdict | undefined {
  const readings = allow.map((path) =>
    indexes.flatMap((index) => index.allowing(path)).filter(({ owner }) => endpoints.has(owner)),
  );
  for (const subject of subjects) {
    if (passesUnlisted(subject, endpoints)) continue;
    if (readings.every((rows) => rows.some(({ test }) => test(subject, true)))) continue;
    return denial(
      'request_not_listed',
      `${labelOf(subject)} is not allowed by any rule for this destination; rule "${rule}" is the nearest`,
      rule,
    );
  }
  return undefined;
}

/** What goes with calls that were allowed; and calls of the protocol where all are, unless rules narrow those of tools. */
function passesUnlisted(subject: Subject, endpoints: ReadonlySet<InspectedEndpoint>): boolean {
  if (subject.kind !== 'rpc') return false;
  const { role, method } = subject.call;
  if (role !== 'call') return true;
  if (!KNOWN_MCP_METHODS.has(method)) return false;
  const all = [...endpoints];
  if (!all.some(({ isOver, inspection }) => !isOver && inspection.allowKnownMethods)) return false;
  // Also by those that are over: their end opens no tool.
  return method !== 'tools/call' || !all.some(({ inspection }) => inspection.allow.some(isAboutTools));
}

/** About single tools, or about what they are given. */
export function isAboutTools(pattern: RequestPattern): boolean {
  return pattern.kind === 'rpc' && (pattern.tool.length > 0 || pattern.arguments.length > 0);
}

function inAll<T>(lists: readonly (readonly T[])[]): T[] {
  const [first = [], ...others] = lists;
  return first.filter((item) => others.every((list) => list.includes(item)));
}

export function denial(reason: DenyReason, detail: string, nearest?: string): DenyVerdict {
  return { allow: false, reason, detail, nearest };
}
