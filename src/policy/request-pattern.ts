/** One item of `rules` or `deny_rules`. */
import type { InspectedProtocol, RequestPattern, ValuePattern } from './document.ts';
import { type GlobDialect, PATH_GLOB, parseGlob, TEXT_GLOB } from './match/glob.ts';
import { type Fields, readChoice, readFields, readList, readMap, readText } from './source/fields.ts';
import { type Findings, notice, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

/** Items of `rules` are wrapped in `allow:`, those of `deny_rules` are not. */
export const ALLOW = { key: 'rules', wrapped: true } as const;
export const DENY = { key: 'deny_rules', wrapped: false } as const;

export interface RuleContext {
  readonly protocol: InspectedProtocol;
  /** The endpoint, in messages. */
  readonly where: string;
  readonly strictToolNames: boolean;
  readonly allowKnownMethods: boolean;
}

const HTTP_KEYS = ['method', 'path', 'query'] as const;
const GRAPHQL_KEYS = ['operation_type', 'operation_name', 'fields'] as const;
const MCP_KEYS = ['method', 'tool', 'params', 'arguments'] as const;

/** Methods whose rules may be about a tool. */
const TOOLS_CALL = 'tools/call';
const TOOLS_FAMILY = /^tools\/[a-z*]*$/;

/** Reads one; undefined where it cannot be made sense of. */
export function readRequestPattern(
  node: TreeNode,
  list: typeof ALLOW | typeof DENY,
  context: RuleContext,
  findings: Findings,
): RequestPattern | undefined {
  const where = `an item of ${list.key} of ${context.where}`;
  let rule: TreeNode | undefined = node;
  if (list.wrapped) rule = readFields(node, where, ['allow'], findings).get('allow');
  if (rule === undefined) return refuse(findings, node.position, `${where} needs the key "allow"`);
  switch (context.protocol) {
    case 'rest':
      return readHttp(rule, where, list, findings);
    case 'websocket':
      return readWebSocket(rule, where, list, findings);
    case 'graphql':
      return readGraphql(rule, where, list, findings);
    case 'json-rpc':
      return readJsonRpc(rule, where, findings);
    case 'mcp':
      return readMcp(rule, where, context, findings);
  }
}

/** About the request that opens it and text, or about operations of GraphQL. */
function readWebSocket(
  node: TreeNode,
  where: string,
  list: typeof ALLOW | typeof DENY,
  findings: Findings,
): RequestPattern | undefined {
  const keys = node.kind === 'map' ? [...node.entries.keys()] : [];
  const http = keys.find((key) => HTTP_KEYS.some((known) => known === key));
  const graphql = keys.find((key) => GRAPHQL_KEYS.some((known) => known === key));
  if (graphql === undefined) return readHttp(node, where, list, findings);
  if (http === undefined) return readGraphql(node, where, list, findings);
  return refuse(
    findings,
    node.position,
    `${where} has both ${http} and ${graphql}: one rule is about the opening, another about operations`,
  );
}

function readHttp(
  node: TreeNode,
  where: string,
  list: typeof ALLOW | typeof DENY,
  findings: Findings,
): RequestPattern | undefined {
  const fields = readFields(node, where, HTTP_KEYS, findings);
  const method = readHttpMethod(fields.get('method'), where, findings);
  const path = readPathGlob(fields.get('path'), where, findings);
  const query = readValues(fields.get('query'), `query of ${where}`, findings);
  if (list === ALLOW && (method === undefined || path === undefined) && !findsProblem(fields, method, path)) {
    const missing = method === undefined ? 'method' : 'path';
    notice(
      findings,
      node.position,
      `${where} has no ${missing} and can never match; write "${missing === 'path' ? '**' : '*'}" for any`,
    );
    return undefined;
  }
  return { kind: 'http', method, path, query, position: node.position };
}

/** Whether what is missing was written, and refused already. */
function findsProblem(fields: Fields<'method' | 'path' | 'query'>, method: unknown, path: unknown): boolean {
  return (fields.has('method') && method === undefined) || (fields.has('path') && path === undefined);
}

function readHttpMethod(node: TreeNode | undefined, where: string, findings: Findings): string | undefined {
  const text = readText(node, `method of ${where}`, findings);
  if (node === undefined || text === undefined) return undefined;
  if (text === '*') return text;
  // RFC 9110 §5.6.2; a `*` in it would look like a glob, which methods have none of.
  if (!/^[A-Za-z0-9!#$%&'+.^_`|~-]+$/.test(text))
    return refuse(findings, node.position, `method ${quote(text)} of ${where} is neither a method nor "*"`);
  return text.toUpperCase();
}

function readPathGlob(node: TreeNode | undefined, where: string, findings: Findings): string | undefined {
  const text = readText(node, `path of ${where}`, findings);
  if (node === undefined || text === undefined) return undefined;
  if (!text.startsWith('/') && text !== '**')
    return refuse(findings, node.position, `path ${quote(text)} of ${where} must begin with "/", or be "**"`);
  return checkGlob(text, PATH_GLOB, 'path', node, where, findings);
}

function readGraphql(
  node: TreeNode,
  where: string,
  list: typeof ALLOW | typeof DENY,
  findings: Findings,
): RequestPattern | undefined {
  const fields = readFields(node, where, GRAPHQL_KEYS, findings);
  const operationType = readChoice(
    fields.get('operation_type'),
    `operation_type of ${where}`,
    ['query', 'mutation', 'subscription', '*'],
    findings,
  );
  if (fields.size === 0) return refuse(findings, node.position, `${where} says nothing about a request`);
  if (list === ALLOW && !fields.has('operation_type'))
    return refuse(findings, node.position, `${where} needs an operation_type; write "*" for any`);
  return {
    kind: 'graphql',
    operationType,
    operationName: readTextGlob(fields.get('operation_name'), 'operation_name', where, findings),
    fields: readList(fields.get('fields'), `fields of ${where}`, findings).flatMap(
      (item) => readTextGlob(item, 'a field', where, findings) ?? [],
    ),
    position: node.position,
  };
}

function readJsonRpc(node: TreeNode, where: string, findings: Findings): RequestPattern | undefined {
  const fields = readFields(node, where, ['method'], findings);
  const method = readText(fields.get('method'), `method of ${where}`, findings);
  if (method === undefined || checkGlob(method, TEXT_GLOB, 'method', node, where, findings) === undefined)
    return refuse(findings, node.position, `${where} needs a method`);
  if (method !== '*' && method.includes('*'))
    return refuse(findings, node.position, `method ${quote(method)} of ${where} must be exact, or "*"`);
  return { kind: 'rpc', method, tool: [], arguments: [], position: node.position };
}

function readMcp(
  node: TreeNode,
  where: string,
  { strictToolNames, allowKnownMethods }: RuleContext,
  findings: Findings,
): RequestPattern | undefined {
  const fields = readFields(node, where, MCP_KEYS, findings);
  const method = readMcpMethod(fields.get('method'), where, findings);
  const params = fields.get('params');
  const name = params && readFields(params, `params of ${where}`, ['name'], findings).get('name');
  const shorthand = fields.get('tool');
  if (name !== undefined && shorthand !== undefined)
    refuse(findings, name.position, `${where} has both tool and params.name`);
  const toolNode = shorthand ?? name;
  const tool = toolNode === undefined ? [] : readAny(toolNode, `tool of ${where}`, findings);
  const args = readValues(fields.get('arguments'), `arguments of ${where}`, findings);
  const aboutTools = tool.length > 0 || args.length > 0;
  if (method === undefined && !(allowKnownMethods && aboutTools))
    return refuse(findings, node.position, `${where} needs a method`);
  if (aboutTools && method !== undefined && method !== TOOLS_CALL)
    return refuse(
      findings,
      node.position,
      `${where} is about a tool and therefore needs method "${TOOLS_CALL}"`,
    );
  if (!strictToolNames && tool.some((glob) => glob.includes('*')))
    return refuse(findings, node.position, `${where} has a pattern of tools, which takes strict_tool_names`);
  return { kind: 'rpc', method: method ?? TOOLS_CALL, tool, arguments: args, position: node.position };
}

function readMcpMethod(node: TreeNode | undefined, where: string, findings: Findings): string | undefined {
  const text = readText(node, `method of ${where}`, findings);
  if (node === undefined || text === undefined) return undefined;
  if (text.includes('*') && text !== '*' && !TOOLS_FAMILY.test(text))
    return refuse(
      findings,
      node.position,
      `method ${quote(text)} of ${where} may have a "*" only after "tools/"`,
    );
  return checkGlob(text, TEXT_GLOB, 'method', node, where, findings);
}

/** `key: glob` or `key: {any: [globs]}`. */
function readValues(node: TreeNode | undefined, where: string, findings: Findings): ValuePattern[] {
  if (node === undefined) return [];
  return [...readMap(node, where, findings)].map(([key, { value }]) => ({
    key,
    any: readAny(value, `${quote(key)} in ${where}`, findings),
  }));
}

/** A glob, or `{any: [globs]}`. What cannot be read gives a list that nothing matches, beside the problem. */
function readAny(node: TreeNode, where: string, findings: Findings): string[] {
  if (node.kind !== 'map') {
    const glob = readTextGlob(node, 'value', where, findings);
    return glob === undefined ? [] : [glob];
  }
  const fields = readFields(node, where, ['any', 'glob'], findings);
  const single = fields.get('glob');
  const items = single === undefined ? readList(fields.get('any'), `any of ${where}`, findings) : [single];
  if (items.length === 0) refuse(findings, node.position, `${where} needs at least one pattern`);
  return items.flatMap((item) => readTextGlob(item, 'value', where, findings) ?? []);
}

function readTextGlob(
  node: TreeNode | undefined,
  what: string,
  where: string,
  findings: Findings,
): string | undefined {
  const text = readText(node, `${what} of ${where}`, findings);
  return node === undefined || text === undefined
    ? undefined
    : checkGlob(text, TEXT_GLOB, what, node, where, findings);
}

function checkGlob(
  text: string,
  dialect: GlobDialect,
  what: string,
  { position }: TreeNode,
  where: string,
  findings: Findings,
): string | undefined {
  const glob = parseGlob(text, dialect);
  if (!('problem' in glob)) return text;
  return refuse(findings, position, `${what} ${quote(text)} of ${where} is no pattern: ${glob.problem}`);
}
