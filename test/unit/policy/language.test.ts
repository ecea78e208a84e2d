/** What policies of the language's other implementation mean here, key by key: the same, or refused with a reason. */
import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/policy/document.ts';
import { checkPolicy, parsePolicy } from '../../../src/policy/parse.ts';
import { parseToNetworkRole } from '../../../src/roles/parse.ts';

const rule = (keys: string) =>
  `version: 1\nnetwork_policies: {r: {endpoints: [{host: a.example, port: 443, ${keys}}], binaries: [{path: /x}]}}\n`;
const rules = (protocol: string, ...items: string[]) =>
  `protocol: ${protocol}, enforcement: enforce, rules: [${items.map((item) => `{allow: {${item}}}`).join(', ')}]`;

function endpoint(keys: string): Endpoint {
  const [found] = parsePolicy(rule(keys), 'p').network[0]?.endpoints ?? [];
  if (found === undefined) throw new Error('no endpoint');
  return found;
}
/** The allow rules, a word for each part. */
const allowed = (keys: string) =>
  (endpoint(keys).inspection?.allow ?? []).map((pattern) => {
    if (pattern.kind === 'http') return `${pattern.method} ${pattern.path}`;
    return pattern.kind === 'graphql' ? pattern.operationType : `${pattern.method} ${pattern.tool}`;
  });

describe('presets stand for', () => {
  it.each<[string, string, readonly string[]]>([
    ['rest', 'read-only', ['GET **', 'HEAD **', 'OPTIONS **']],
    ['rest', 'read-write', ['GET **', 'HEAD **', 'OPTIONS **', 'POST **', 'PUT **', 'PATCH **']],
    ['rest', 'full', ['* **']],
    ['websocket', 'read-only', ['GET **']],
    ['websocket', 'read-write', ['GET **', 'WEBSOCKET_TEXT **']],
    ['websocket', 'full', ['* **']],
    ['graphql', 'read-only', ['query']],
    ['graphql', 'read-write', ['query', 'mutation']],
    ['graphql', 'full', ['*']],
  ])('%s %s', (protocol, access, expected) => {
    expect(allowed(`protocol: ${protocol}, access: ${access}`)).toEqual(expected);
  });
});

describe('loads', () => {
  it.each<[string, string, object]>([
    ['an empty list of ports beside a port', 'ports: []', { ports: [443] }],
    ['words that stand for nothing', 'protocol: "", tls: "", enforcement: "", access: "", path: "", allow_encoded_slash: false', { protocol: '' }],
    ['credential keys that say nothing', 'credential_signing: "", signing_service: "", websocket_credential_rewrite: false, credential_binding: null', { protocol: '' }],
    ['the exception of a guard that is not there', 'allow_uninspected_credentials: true', { protocol: '' }],
    ['a tunnel', 'tls: skip', { protocol: '' }],
    ['any path', 'path: "**", protocol: rest, access: full', { inspection: { path: undefined } }],
    ['methods in any case', rules('rest', 'method: get, path: /'), { inspection: { allow: [{ method: 'GET' }] } }],
    ['a query value', rules('rest', 'method: GET, path: /, query: {k: v}'), { inspection: { allow: [{ query: [{ key: 'k', any: ['v'] }] }] } }],
    ['one of several', rules('rest', 'method: GET, path: /, query: {k: {any: [a, b]}}'), { inspection: { allow: [{ query: [{ any: ['a', 'b'] }] }] } }],
    ['one in the long form', rules('rest', 'method: GET, path: /, query: {k: {glob: "a*"}}'), { inspection: { allow: [{ query: [{ any: ['a*'] }] }] } }],
    ['a tool as parameter', rules('mcp', 'method: tools/call, params: {name: "read_*"}'), { inspection: { allow: [{ tool: ['read_*'] }] } }],
    ['tools as parameter', rules('mcp', 'method: tools/call, params: {name: {any: [a, b]}}'), { inspection: { allow: [{ tool: ['a', 'b'] }] } }],
    ['a family of methods', rules('mcp', 'method: "tools/*"'), { inspection: { allow: [{ method: 'tools/*' }] } }],
    ['every operation', rules('graphql', 'operation_type: "*"'), { inspection: { allow: [{ operationType: '*' }] } }],
    ['the default limit of bodies', rules('mcp', 'method: ping'), { inspection: { maxBodyBytes: 65_536, strictToolNames: true, allowKnownMethods: false } }],
    ['operations over a WebSocket', rules('websocket', 'method: GET, path: /g', 'operation_type: subscription, fields: [tick]'), { inspection: { allow: [{ kind: 'http' }, { kind: 'graphql' }] } }],
    ['registered ones', `${rules('websocket', 'method: GET, path: /g', 'operation_type: query')}, persisted_queries: allow_registered, graphql_persisted_queries: {a: {operation_type: query, fields: [b]}}, graphql_max_body_bytes: 9`, { inspection: { maxBodyBytes: 9, persistedQueries: { a: { fields: ['b'] } } } }],
  ])('%s', (_, keys, expected) => {
    expect(endpoint(keys)).toMatchObject(expected);
    const { network, notices } = parsePolicy(rule(keys), 'p');
    expect(notices.filter(({ message }) => !message.includes('castellan enforces'))).toEqual([]);
    // And it reaches the network role as it is.
    const sent = JSON.parse(JSON.stringify({ type: 'policy', generation: 1, rules: network }));
    expect(parseToNetworkRole(sent)).toEqual(sent);
  }); // biome-ignore format: a table

  it('an endpoint for any name at listed addresses', () => {
    const text =
      'version: 1\nnetwork_policies: {r: {endpoints: [{port: 443, allowed_ips: [10.1.0.0/16]}], binaries: [{path: /x}]}}\n';
    expect(parsePolicy(text, 'p')).toMatchObject({
      notices: [],
      network: [{ endpoints: [{ host: '', allowedIps: ['10.1.0.0/16'] }] }],
    });
  });

  it('as many paths as there may be', () => {
    const paths = Array.from({ length: 256 }, (_, index) => `/p${index}`);
    expect(
      parsePolicy(`version: 1\nfilesystem_policy: {read_only: [${paths}]}`, 'p').filesystem.readOnly,
    ).toHaveLength(256);
  });
});

const GRAPHQL_SOCKET = ['method: GET, path: /g', 'operation_type: query'] as const;

describe('refuses', () => {
  it.each<[string, string, string]>([
    ['an empty list of values', rules('rest', 'method: GET, path: /, query: {k: {any: []}}'), 'needs at least one pattern'],
    ['a misspelt long form', rules('rest', 'method: GET, path: /, query: {k: {globs: x}}'), 'did you mean "glob"?'],
    ['a parameter that is no name', rules('mcp', 'method: tools/call, params: {arguments: x}'), 'unknown key "arguments" in params'],
    ['every tool beside single ones', rules('mcp', 'method: tools/call', 'method: tools/call, tool: read'), 'allows every tool by "tools/call" beside rules for single tools'],
    ['the same by a family', rules('mcp', 'method: "tools/*"', 'method: tools/call, tool: read'), 'allows every tool by "tools/*"'],
    ['the same by all methods', rules('mcp', 'method: tools/call, tool: read', 'method: "*"'), 'allows every tool by "*"'],
    ['persisted queries elsewhere', 'protocol: rest, access: full, persisted_queries: deny', 'takes protocol "graphql" or "websocket"'],
    ['a persisted mode of its own', 'protocol: graphql, access: full, persisted_queries: allow', 'must be "deny" or "allow_registered"'],
    ['sql in any enforcement', 'protocol: sql, enforcement: audit, access: full', 'protocol "sql" has no inspector'],
    ['a protocol in capitals', rules('MCP', 'method: ping'), 'did you mean "mcp"?'],
    ['opening and operation in one rule', rules('websocket', 'method: GET, path: /g, operation_type: query'), 'has both method and operation_type'],
    ['the same in a deny', `${rules('websocket', ...GRAPHQL_SOCKET)}, deny_rules: [{path: /g, fields: [x]}]`, 'has both path and fields'],
    ['text and operations', rules('websocket', ...GRAPHQL_SOCKET, 'method: websocket_text, path: /g'), 'therefore none about WEBSOCKET_TEXT'],
    ['a preset with text, and operations refused', 'protocol: websocket, access: read-write, deny_rules: [{operation_type: mutation}]', 'therefore none about WEBSOCKET_TEXT'],
    ['operations refused, and none allowed', 'protocol: websocket, access: read-only, deny_rules: [{operation_type: mutation}]', 'has no rule that allows one'],
    ['limits of GraphQL for text', 'protocol: websocket, access: full, graphql_max_body_bytes: 9', 'takes rules about operations of GraphQL'],
    ['a key that neither has', rules('websocket', 'method: GET, pth: /'), 'did you mean "path"?'],
    ['a rule that is a text', 'protocol: websocket, rules: [{allow: GET}]', 'must be a mapping'],
  ])('%s', (_, keys, message) => {
    expect(checkPolicy(rule(keys), 'p').problems.map((problem) => problem.message).join('\n')).toContain(message);
  }); // biome-ignore format: a table

  it('WebSockets of text and of operations at one path', () => {
    const both = `version: 1\nnetwork_policies: {r: {endpoints: [{host: a.example, port: 443, ${rules('websocket', ...GRAPHQL_SOCKET)}}, {host: a.example, port: 443, protocol: websocket, enforcement: enforce, access: full}], binaries: [{path: /x}]}}\n`;
    expect(checkPolicy(both, 'p').problems).toMatchObject([
      { message: expect.stringContaining('whether the WebSocket carries operations of GraphQL') },
    ]);
  });
});

it('a GraphQL WebSocket that nobody may open is told', () => {
  expect(parsePolicy(rule(rules('websocket', 'operation_type: query')), 'p').notices).toMatchObject([
    { message: expect.stringContaining('has no rule for the GET that opens the WebSocket') },
  ]);
});

it.each([
  ['2026-12-31T18:00:00Z', Date.UTC(2026, 11, 31, 18)],
  ['2026-12-31T18:00+02:00', Date.UTC(2026, 11, 31, 16)],
])('a rule may end: %s', (text, expected) => {
  const { network } = parsePolicy(rule('tls: skip').replace('{r: {', `{r: {expires: ${text}, `), 'p');
  expect(network[0]?.expires).toBe(expected);
  const sent = JSON.parse(JSON.stringify({ type: 'policy', generation: 1, rules: network }));
  expect(parseToNetworkRole(sent)).toEqual(sent);
});
