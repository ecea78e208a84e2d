/** The keys of an endpoint that are about its requests. */
import {
  type Endpoint,
  INSPECTED_PROTOCOLS,
  type InspectedProtocol,
  type Inspection,
  type RequestPattern,
  type SourcePosition,
} from './document.ts';
import { isAboutTools, speaksGraphql } from './judge.ts';
import { PATH_GLOB, parseGlob, TEXT_GLOB } from './match/glob.ts';
import { type GraphqlOperation, WEBSOCKET_TEXT } from './request.ts';
import { ALLOW, DENY, type RuleContext, readRequestPattern } from './request-pattern.ts';
import {
  type Fields,
  readBoolean,
  readChoice,
  readFields,
  readInteger,
  readList,
  readMap,
  readText,
} from './source/fields.ts';
import { type Findings, notice, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

export const INSPECTION_KEYS = [
  'path',
  'access',
  'rules',
  'deny_rules',
  'allow_encoded_slash',
  'persisted_queries',
  'graphql_persisted_queries',
  'graphql_max_body_bytes',
  'json_rpc',
  'mcp',
] as const;
export type InspectionKey = (typeof INSPECTION_KEYS)[number];

/** Keys that mean something for some protocols only. */
const KEYS_OF: Readonly<Partial<Record<InspectionKey, readonly InspectedProtocol[]>>> = {
  access: ['rest', 'websocket', 'graphql'],
  persisted_queries: ['graphql', 'websocket'],
  graphql_persisted_queries: ['graphql', 'websocket'],
  graphql_max_body_bytes: ['graphql', 'websocket'],
  json_rpc: ['json-rpc'],
  mcp: ['mcp'],
};

/** Enough for requests of people and models; each is held in memory while it is judged. */
const DEFAULT_BODY_BYTES = 64 * 1024;
/** As many as a whole connection of the egress may buffer. */
const MAX_BODY_BYTES = 16 * 1024 * 1024;
const MAX_PERSISTED_QUERIES = 10_000;

type HttpMethods = readonly string[];
const REST_PRESETS: Readonly<Record<string, HttpMethods>> = {
  'read-only': ['GET', 'HEAD', 'OPTIONS'],
  'read-write': ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH'],
  full: ['*'],
};
const WEBSOCKET_PRESETS: Readonly<Record<string, HttpMethods>> = {
  'read-only': ['GET'],
  'read-write': ['GET', WEBSOCKET_TEXT],
  full: ['*'],
};
const GRAPHQL_PRESETS: Readonly<Record<string, readonly (GraphqlOperation['type'] | '*')[]>> = {
  'read-only': ['query'],
  'read-write': ['query', 'mutation'],
  full: ['*'],
};

export interface InspectionSource {
  readonly fields: Fields<InspectionKey>;
  readonly protocol: Endpoint['protocol'];
  readonly enforcement: Inspection['enforcement'] | undefined;
  /** The endpoint in messages, and where it stands. */
  readonly where: string;
  readonly position: SourcePosition;
}

/** Reads them; undefined where the protocol is not inspected. Keys without a meaning for the protocol are refused. */
export function readInspection(source: InspectionSource, findings: Findings): Inspection | undefined {
  const { fields, where, position, enforcement } = source;
  const protocol = INSPECTED_PROTOCOLS.find((known) => known === source.protocol);
  refuseForeignKeys(source, protocol, findings);
  if (protocol === undefined) return undefined;
  if (enforcement === undefined)
    notice(
      findings,
      position,
      `${where} has no enforcement; castellan enforces (OpenShell would only audit)`,
    );
  const mcp = readOptions(
    fields.get('mcp'),
    'mcp',
    ['max_body_bytes', 'strict_tool_names', 'allow_all_known_mcp_methods'],
    findings,
  );
  const jsonRpc = readOptions(fields.get('json_rpc'), 'json_rpc', ['max_body_bytes'], findings);
  const strictToolNames = readBoolean(mcp.get('strict_tool_names'), 'strict_tool_names', findings) ?? true;
  const allowKnownMethods =
    readBoolean(mcp.get('allow_all_known_mcp_methods'), 'allow_all_known_mcp_methods', findings) ?? false;
  const context = { protocol, where, strictToolNames, allowKnownMethods };
  const bodyLimit =
    fields.get('graphql_max_body_bytes') ?? mcp.get('max_body_bytes') ?? jsonRpc.get('max_body_bytes');
  const allow = readAllow(source, context, findings);
  const deny = readRules(fields.get('deny_rules'), DENY, context, findings);
  if (protocol === 'websocket') checkGraphqlWebSocket(source, [allow, deny], findings);
  if (protocol === 'mcp') refuseBroadTools(allow, where, findings);
  return {
    path: readEndpointPath(fields.get('path'), where, findings),
    enforcement: enforcement ?? 'enforce',
    allow,
    deny,
    allowEncodedSlash:
      readBoolean(fields.get('allow_encoded_slash'), 'allow_encoded_slash', findings) ?? false,
    maxBodyBytes:
      readInteger(bodyLimit, 'the limit of bodies', [1, MAX_BODY_BYTES], findings) ?? DEFAULT_BODY_BYTES,
    persistedQueries: readPersistedQueries(fields, findings),
    strictToolNames,
    allowKnownMethods,
  };
}

/** Beside a rule for every tool, those for single ones look as if they narrowed something. */
function refuseBroadTools(allow: readonly RequestPattern[], where: string, findings: Findings): void {
  const calls = allow.filter((pattern) => pattern.kind === 'rpc');
  const broad = calls.find((each) => !isAboutTools(each) && covers(each.method, 'tools/call'));
  if (broad !== undefined && calls.some(isAboutTools))
    refuse(
      findings,
      broad.position,
      `${where} allows every tool by ${quote(broad.method ?? '*')} beside rules for single tools`,
    );
}

function covers(pattern: string | undefined, method: string): boolean {
  const glob = parseGlob(pattern ?? '*', TEXT_GLOB);
  return 'matches' in glob && glob.matches(method);
}

const GRAPHQL_KEYS = ['persisted_queries', 'graphql_persisted_queries', 'graphql_max_body_bytes'] as const;

/** A WebSocket carries operations of GraphQL, or text that nobody looks into. */
function checkGraphqlWebSocket(
  { fields, where, position }: InspectionSource,
  [allow, deny]: readonly [readonly RequestPattern[], readonly RequestPattern[]],
  findings: Findings,
): void {
  if (!speaksGraphql({ allow, deny })) {
    for (const key of GRAPHQL_KEYS) {
      const node = fields.get(key);
      if (node !== undefined)
        refuse(
          findings,
          node.position,
          `key ${quote(key)} of ${where} takes rules about operations of GraphQL`,
        );
    }
    return;
  }
  const text = [...allow, ...deny].find(
    ({ kind, ...rest }) => kind === 'http' && 'method' in rest && rest.method === WEBSOCKET_TEXT,
  );
  if (text !== undefined)
    refuse(
      findings,
      text.position,
      `${where} has rules about operations of GraphQL, and therefore none about ${WEBSOCKET_TEXT}`,
    );
  if (!allow.some(({ kind }) => kind === 'graphql'))
    refuse(findings, position, `${where} refuses operations of GraphQL, and has no rule that allows one`);
  if (!allow.some(({ kind }) => kind === 'http'))
    notice(
      findings,
      position,
      `${where} has no rule for the GET that opens the WebSocket, and can never be used`,
    );
}

function refuseForeignKeys(
  { fields, where }: InspectionSource,
  protocol: InspectedProtocol | undefined,
  findings: Findings,
): void {
  for (const [key, node] of fields) {
    const { position } = node;
    const owners = KEYS_OF[key] ?? INSPECTED_PROTOCOLS;
    if (node.kind === 'scalar' && node.value === false) continue;
    if (protocol === undefined || !owners.includes(protocol))
      refuse(
        findings,
        position,
        `key ${quote(key)} of ${where} takes protocol ${owners.map(quote).join(' or ')}`,
      );
  }
}

function readOptions<Key extends string>(
  node: TreeNode | undefined,
  where: string,
  keys: readonly Key[],
  findings: Findings,
): Fields<Key> {
  return node === undefined ? new Map() : readFields(node, where, keys, findings);
}

function readEndpointPath(node: TreeNode | undefined, where: string, findings: Findings): string | undefined {
  const text = readText(node, `path of ${where}`, findings);
  if (node === undefined || text === undefined || text === '' || text === '**') return undefined;
  if (!text.startsWith('/'))
    return refuse(findings, node.position, `path ${quote(text)} of ${where} must begin with "/", or be "**"`);
  const glob = parseGlob(text, PATH_GLOB);
  if ('problem' in glob)
    return refuse(findings, node.position, `path ${quote(text)} of ${where} is no pattern: ${glob.problem}`);
  return text;
}

/** `access` stands for rules; one of the two is needed, so that nobody has to guess what an endpoint without them means. */
function readAllow(
  { fields, where, position }: InspectionSource,
  context: RuleContext,
  findings: Findings,
): RequestPattern[] {
  const access = fields.get('access');
  const rules = fields.get('rules');
  if (access !== undefined && rules !== undefined)
    refuse(findings, access.position, `${where} has both access and rules`);
  if (access !== undefined) return readAccess(access, context.protocol, findings);
  if (rules !== undefined) return readRules(rules, ALLOW, context, findings);
  if (context.allowKnownMethods) return [];
  const needed = KEYS_OF.access?.includes(context.protocol) ? 'access, or rules' : 'rules';
  refuse(
    findings,
    position,
    `${where} has protocol ${quote(context.protocol)} and therefore needs ${needed}`,
  );
  return [];
}

function readAccess(node: TreeNode, protocol: InspectedProtocol, findings: Findings): RequestPattern[] {
  const preset = readChoice(node, 'access', ['read-only', 'read-write', 'full'], findings);
  if (preset === undefined) return [];
  const { position } = node;
  if (protocol === 'graphql')
    return (GRAPHQL_PRESETS[preset] ?? []).map((operationType) => ({
      kind: 'graphql',
      operationType,
      operationName: undefined,
      fields: [],
      position,
    }));
  const methods = protocol === 'websocket' ? WEBSOCKET_PRESETS : REST_PRESETS;
  return (methods[preset] ?? []).map((method) => ({
    kind: 'http',
    method,
    path: '**',
    query: [],
    position,
  }));
}

function readRules(
  node: TreeNode | undefined,
  list: typeof ALLOW | typeof DENY,
  context: RuleContext,
  findings: Findings,
): RequestPattern[] {
  const items = readList(node, `${list.key} of ${context.where}`, findings);
  if (node !== undefined && items.length === 0)
    refuse(findings, node.position, `${list.key} of ${context.where} is empty; leave it out`);
  return items.flatMap((item) => readRequestPattern(item, list, context, findings) ?? []);
}

function readPersistedQueries(
  fields: Fields<InspectionKey>,
  findings: Findings,
): Readonly<Record<string, GraphqlOperation>> {
  const mode = readChoice(
    fields.get('persisted_queries'),
    'persisted_queries',
    ['', 'deny', 'allow_registered'],
    findings,
  );
  const node = fields.get('graphql_persisted_queries');
  if (node === undefined) return {};
  const entries = readMap(node, 'graphql_persisted_queries', findings);
  if (entries.size > MAX_PERSISTED_QUERIES)
    refuse(findings, node.position, `graphql_persisted_queries lists more than ${MAX_PERSISTED_QUERIES}`);
  const queries: Record<string, GraphqlOperation> = Object.create(null);
  for (const [id, { value }] of entries) {
    const operation = readOperation(value, `persisted query ${quote(id)}`, findings);
    if (operation !== undefined) queries[id] = operation;
  }
  if (mode === 'allow_registered') return queries;
  notice(
    findings,
    node.position,
    'graphql_persisted_queries has no effect without persisted_queries: allow_registered',
  );
  return {};
}

function readOperation(node: TreeNode, where: string, findings: Findings): GraphqlOperation | undefined {
  const fields = readFields(node, where, ['operation_type', 'operation_name', 'fields'], findings);
  const type = readChoice(
    fields.get('operation_type'),
    `operation_type of ${where}`,
    ['query', 'mutation', 'subscription'],
    findings,
  );
  if (type === undefined) return refuse(findings, node.position, `${where} needs an operation_type`);
  const names = readList(fields.get('fields'), `fields of ${where}`, findings).flatMap(
    (item) => readText(item, `a field of ${where}`, findings) ?? [],
  );
  if (names.length === 0) return refuse(findings, node.position, `${where} needs its root fields`);
  return {
    type,
    name: readText(fields.get('operation_name'), `operation_name of ${where}`, findings) ?? '',
    fields: names,
  };
}
