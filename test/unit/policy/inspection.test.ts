import { describe, expect, it } from 'vitest';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { checkPolicy, parsePolicy } from '../../../src/policy/parse.ts';
import type { BodyFacts, RequestFacts } from '../../../src/policy/request.ts';

const CURL = '/usr/bin/curl';
const BINARIES = 'binaries: [{path: /usr/bin/curl}]';
const endpoint = (keys: string) => `{host: a.example, port: 443, ${keys}}`;
const policy = (...rules: readonly string[]) =>
  `version: 1\nnetwork_policies:\n${rules.map((keys, index) => `  r${index}:\n    endpoints: [${endpoint(keys)}]\n    ${BINARIES}\n`).join('')}`;

function requestsOf(text: string, binary = CURL) {
  const verdict = compilePolicy(parsePolicy(text, 'p').network).decide({
    host: 'a.example',
    port: 443,
    binaries: [binary],
  });
  if (!verdict.allow || verdict.requests === undefined) throw new Error('not inspected');
  return verdict.requests;
}

function facts(request: string, body: BodyFacts = { kind: 'uninspected' }): RequestFacts {
  const [method = '', target = ''] = request.split(' ');
  const [path = '', query = ''] = target.split('?');
  const pairs = [...new URLSearchParams(query)];
  return { method, path: { allow: [path], deny: [path] }, query: pairs, body };
}

function judge(text: string, request: RequestFacts) {
  const route = requestsOf(text).route(request.path);
  return 'judge' in route ? route.judge(request) : route;
}

const outcome = (text: string, request: RequestFacts) => {
  const verdict = judge(text, request);
  return verdict.allow ? (verdict.violation?.reason ?? 'allow') : verdict.reason;
};

const READ = 'protocol: rest, access: read-only';
const WRITE = 'protocol: rest, access: read-write';
const API = 'protocol: rest, rules: [{allow: {method: get, path: "/api/**"}}]';
const NO_ADMIN = `protocol: rest, access: full, deny_rules: [{path: "/admin/**"}]`;
const TICKETS =
  'protocol: rest, rules: [{allow: {method: GET, path: "/t", query: {state: {any: [open, new]}, tag: "a*"}}}]';
const NO_FORCE = 'protocol: rest, access: full, deny_rules: [{method: POST, query: {force: "*"}}]';

describe('rest', () => {
  it.each<[string, string, string, string]>([
    ['a preset', READ, 'GET /x', 'allow'],
    ['a preset includes HEAD', READ, 'HEAD /x', 'allow'],
    ['a preset is no more', READ, 'POST /x', 'request_not_listed'],
    ['read-write has no DELETE', WRITE, 'DELETE /x', 'request_not_listed'],
    ['read-write has PATCH', WRITE, 'PATCH /x', 'allow'],
    ['methods in any case', API, 'GET /api/x/y', 'allow'],
    ['GET stands for HEAD', API, 'HEAD /api/x', 'allow'],
    ['paths are whole', API, 'GET /apiary', 'request_not_listed'],
    ['a method of nobody', API, 'BREW /api/x', 'request_not_listed'],
    ['full', 'protocol: rest, access: full', 'DELETE /x', 'allow'],
    ['deny before allow', NO_ADMIN, 'GET /admin/x', 'request_refused'],
    ['a deny without method is for all', NO_ADMIN, 'BREW /admin/x', 'request_refused'],
    ['deny is no more', NO_ADMIN, 'GET /administration', 'allow'],
    ['query', TICKETS, 'GET /t?state=open&tag=ab', 'allow'],
    ['other keys are free', TICKETS, 'GET /t?state=new&tag=a&x=1', 'allow'],
    ['every value', TICKETS, 'GET /t?state=open&state=closed&tag=a', 'request_not_listed'],
    ['a key that is missing', TICKETS, 'GET /t?state=open', 'request_not_listed'],
    ['no path in a deny is all paths', NO_FORCE, 'POST /any?force=', 'request_refused'],
    ['one value of a deny is enough', NO_FORCE, 'POST /any?a=1&force=1', 'request_refused'],
    ['a deny of a key that is absent', NO_FORCE, 'POST /any?a=1', 'allow'],
    ['an endpoint path', 'path: "/v1/**", protocol: rest, access: full', 'GET /v2/x', 'request_not_listed'],
  ])('%s', (_, keys, request, expected) => {
    expect(outcome(policy(keys), facts(request))).toBe(expected);
  });

  it('allows by any rule of the destination, and refuses by any', () => {
    const text = policy(READ, 'protocol: rest, rules: [{allow: {method: POST, path: /p}}]', NO_ADMIN);
    expect(outcome(text, facts('POST /p'))).toBe('allow');
    expect(outcome(text, facts('GET /admin/'))).toBe('request_refused');
  });

  it('takes every reading to allow and one to refuse', () => {
    const path = { allow: ['/api/a', '/x'], deny: ['/api/a', '/x'] };
    expect(outcome(policy(API), { ...facts('GET /'), path })).toBe('request_not_listed');
    expect(
      outcome(policy(NO_ADMIN), { ...facts('GET /'), path: { allow: ['/a'], deny: ['/a', '/admin/x'] } }),
    ).toBe('request_refused');
  });

  it('audits what it would refuse', () => {
    const verdict = judge(policy(`${READ}, enforcement: audit`), facts('POST /x'));
    expect(verdict).toMatchObject({ allow: true, rule: 'r0', violation: { reason: 'request_not_listed' } });
  });

  it('refuses what one rule audits and another refuses in earnest, whatever they are called', () => {
    const deny = 'protocol: rest, access: full, deny_rules: [{method: GET, path: /a/b}]';
    const [audits, enforces] = [
      `${deny}, path: "/a/**", enforcement: audit`,
      `${deny}, enforcement: enforce`,
    ];
    for (const text of [policy(audits, enforces), policy(enforces, audits)])
      expect(judge(text, facts('GET /a/b'))).toMatchObject({ allow: false, reason: 'request_refused' });
    expect(judge(policy(audits), facts('GET /a/b'))).toMatchObject({ allow: true });
  });

  it('asks only rules about the program', () => {
    const other = policy(READ).replace('/usr/bin/curl', '/usr/bin/wget');
    expect(() => requestsOf(other)).toThrow('not inspected');
  });

  it('does not let an endpoint without inspection widen one with it', () => {
    expect(outcome(policy('tls: skip', READ), facts('POST /x'))).toBe('request_not_listed');
  });

  it('routes by the host that is named most closely, whatever the rules are called', () => {
    const exact = 'protocol: rest, access: full, enforcement: enforce';
    const wildcard = 'protocol: mcp, rules: [{allow: {method: ping}}], enforcement: enforce';
    const hosts = (text: string) => text.replace(/host: a\.example(?=[^\n]*mcp)/, 'host: "*.example.org"');
    for (const rules of [
      [exact, wildcard],
      [wildcard, exact],
    ]) {
      const text = hosts(policy(...rules)).replaceAll('host: a.example,', 'host: a.example.org,');
      const verdict = compilePolicy(parsePolicy(text, 'p').network).decide({
        host: 'a.example.org',
        port: 443,
        binaries: [CURL],
      });
      const route = verdict.allow ? verdict.requests?.route({ allow: ['/x'], deny: ['/x'] }) : undefined;
      expect(route).toMatchObject({ protocol: 'rest' });
    }
  });

  it('routes by the most specific path', () => {
    const text = policy(
      'protocol: rest, access: full',
      'path: "/mcp", protocol: mcp, rules: [{allow: {method: ping}}]',
    );
    const route = (path: string) => requestsOf(text).route({ allow: [path], deny: [path] });
    expect(route('/mcp')).toMatchObject({ protocol: 'mcp', rule: 'r1' });
    expect(route('/mcp/x')).toMatchObject({ protocol: 'rest', rule: 'r0' });
  });
});

const TEXT: BodyFacts = { kind: 'websocket-text' };
const SOCKET = 'protocol: websocket';
const CHAT = `${SOCKET}, rules: [{allow: {method: GET, path: "/c/**"}}, {allow: {method: websocket_text, path: /c/say}}]`;
const MUTE = `${SOCKET}, access: full, deny_rules: [{method: WEBSOCKET_TEXT, path: "/mute/**"}]`;

describe('websocket', () => {
  it.each<[string, string, string, string]>([
    ['read-only opens', `${SOCKET}, access: read-only`, 'open', 'allow'],
    ['read-only sends no text', `${SOCKET}, access: read-only`, 'text', 'request_not_listed'],
    ['read-write sends text', `${SOCKET}, access: read-write`, 'text', 'allow'],
    ['full sends text', `${SOCKET}, access: full`, 'text', 'allow'],
    ['a rule for another path is none', CHAT, 'text', 'request_not_listed'],
    ['opening takes a rule of its own', CHAT, 'open', 'request_not_listed'],
    ['a deny of text leaves the opening', MUTE, 'open /mute/x', 'allow'],
    ['a deny of text', MUTE, 'text /mute/x', 'request_refused'],
    ['a rule of the language', CHAT, 'text /c/say', 'allow'],
    ['a rule for the path above', CHAT, 'text /c/x', 'request_not_listed'],
  ])('%s', (_, keys, what, expected) => {
    const [kind = '', path = '/x'] = what.split(' ');
    expect(outcome(policy(keys), facts(`GET ${path}`, kind === 'text' ? TEXT : undefined))).toBe(expected);
  });
});

const graphql = (type: 'query' | 'mutation', name: string, ...fields: string[]): BodyFacts => ({
  kind: 'graphql',
  operations: [{ type, name, fields }],
});
const QUERIES = 'protocol: graphql, access: read-only';
const NAMED =
  'protocol: graphql, rules: [{allow: {operation_type: mutation, operation_name: "Add*", fields: [addStar]}}]';
const NO_DELETE = 'protocol: graphql, access: full, deny_rules: [{fields: ["delete*"]}]';

describe('graphql', () => {
  it.each<[string, string, BodyFacts, string]>([
    ['a query', QUERIES, graphql('query', '', 'viewer'), 'allow'],
    ['a mutation', QUERIES, graphql('mutation', '', 'x'), 'request_not_listed'],
    ['a named mutation', NAMED, graphql('mutation', 'AddIt', 'addStar'), 'allow'],
    ['another field with it', NAMED, graphql('mutation', 'AddIt', 'addStar', 'drop'), 'request_not_listed'],
    ['another name', NAMED, graphql('mutation', 'Drop', 'addStar'), 'request_not_listed'],
    ['one denied field', NO_DELETE, graphql('mutation', '', 'add', 'delete.all'), 'request_refused'],
    ['no denied field', NO_DELETE, graphql('mutation', '', 'add'), 'allow'],
  ])('%s', (_, keys, body, expected) => {
    expect(outcome(policy(keys), facts('POST /graphql', body))).toBe(expected);
  });

  it('allows a batch only as a whole', () => {
    const operations = [
      { type: 'query', name: '', fields: ['a'] },
      { type: 'mutation', name: '', fields: ['b'] },
    ] as const;
    expect(outcome(policy(QUERIES), facts('POST /', { kind: 'graphql', operations }))).toBe(
      'request_not_listed',
    );
  });
});

const call = (method: string, tool?: string, parameters: unknown = {}): BodyFacts => ({
  kind: 'mcp',
  calls: [{ method, role: 'call', tool, parameters }],
});
const TOOLS = `protocol: mcp, rules: [{allow: {method: initialize}}, {allow: {method: tools/call, tool: {any: ["search_*", read]}}}]`;
const BY_ARGUMENT = `protocol: mcp, rules: [{allow: {method: tools/call, tool: query, arguments: {repo: "mine/*"}}}]`;
const NOT_ARGUMENT = `protocol: mcp, mcp: {allow_all_known_mcp_methods: true}, deny_rules: [{method: tools/call, arguments: {path: "*secret*"}}]`;
const KNOWN = 'protocol: mcp, mcp: {allow_all_known_mcp_methods: true}';
const NARROWED = `${KNOWN}, rules: [{allow: {tool: read}}]`;

describe('mcp', () => {
  it.each<[string, string, BodyFacts, string]>([
    ['a method', TOOLS, call('initialize'), 'allow'],
    ['another', TOOLS, call('tools/list'), 'request_not_listed'],
    ['a tool', TOOLS, call('tools/call', 'search_all.now'), 'allow'],
    ['another tool', TOOLS, call('tools/call', 'drop'), 'request_not_listed'],
    ['an argument', BY_ARGUMENT, call('tools/call', 'query', { repo: 'mine/a' }), 'allow'],
    [
      'another argument',
      BY_ARGUMENT,
      call('tools/call', 'query', { repo: 'theirs/a' }),
      'request_not_listed',
    ],
    [
      'an argument that is a list',
      BY_ARGUMENT,
      call('tools/call', 'query', { repo: ['mine/a'] }),
      'request_not_listed',
    ],
    [
      'an argument of a prototype',
      BY_ARGUMENT.replace('repo', 'toString'),
      call('tools/call', 'query'),
      'request_not_listed',
    ],
    [
      'a denied argument anywhere',
      NOT_ARGUMENT,
      call('tools/call', 'x', { path: { a: ['my.secret.txt'] } }),
      'request_refused',
    ],
    ['other arguments', NOT_ARGUMENT, call('tools/call', 'x', { path: 'plain' }), 'allow'],
    ['known methods', KNOWN, call('resources/list'), 'allow'],
    ['unknown methods', KNOWN, call('shell/run'), 'request_not_listed'],
    ['tools of known methods, narrowed', NARROWED, call('tools/call', 'write'), 'request_not_listed'],
    ['tools of known methods', NARROWED, call('tools/call', 'read'), 'allow'],
  ])('%s', (_, keys, body, expected) => {
    expect(outcome(policy(keys), facts('POST /mcp', body))).toBe(expected);
  });

  it.each(['response', 'receive-stream', 'session-end'] as const)('lets a %s pass', (role) => {
    const calls = [{ method: '', role, tool: undefined, parameters: undefined }];
    expect(outcome(policy(TOOLS), facts('POST /mcp', { kind: 'mcp', calls }))).toBe('allow');
  });
});

it('json-rpc knows exact methods', () => {
  const keys = 'protocol: json-rpc, rules: [{allow: {method: eth_call}}]';
  const body = (method: string): BodyFacts => ({
    kind: 'json-rpc',
    calls: [{ method, role: 'call', tool: undefined, parameters: [] }],
  });
  expect(outcome(policy(keys), facts('POST /', body('eth_call')))).toBe('allow');
  expect(outcome(policy(keys), facts('POST /', body('eth_callx')))).toBe('request_not_listed');
});

describe('refuses to load', () => {
  it.each([
    [
      'access and rules',
      'protocol: rest, access: full, rules: [{allow: {method: GET, path: /}}]',
      'has both access and rules',
    ],
    ['empty rules', 'protocol: rest, rules: []', 'rules of an endpoint of rule "r0" is empty'],
    [
      'empty deny_rules',
      'protocol: rest, access: full, deny_rules: []',
      'deny_rules of an endpoint of rule "r0" is empty',
    ],
    [
      'a preset of its own',
      'protocol: rest, access: readonly',
      'access must be "read-only" or "read-write" or "full"',
    ],
    [
      'a preset of mcp',
      'protocol: mcp, access: full',
      'key "access" of an endpoint of rule "r0" takes protocol "rest" or "websocket" or "graphql"',
    ],
    ['mcp without rules', 'protocol: mcp', 'therefore needs rules'],
    ['a rule without allow', 'protocol: rest, rules: [{method: GET, path: /}]', 'unknown key "method"'],
    [
      'a deny with allow',
      'protocol: rest, access: full, deny_rules: [{allow: {method: GET}}]',
      'unknown key "allow"',
    ],
    ['a relative path', 'protocol: rest, rules: [{allow: {method: GET, path: api}}]', 'must begin with "/"'],
    ['a broken path', 'protocol: rest, rules: [{allow: {method: GET, path: "/a["}}]', 'is no pattern'],
    [
      'a method with spaces',
      'protocol: rest, rules: [{allow: {method: "GET /", path: /}}]',
      'is neither a method nor "*"',
    ],
    [
      'a key of another protocol',
      'protocol: rest, rules: [{allow: {method: GET, path: /, tool: x}}]',
      'unknown key "tool"',
    ],
    [
      'an operation type',
      'protocol: graphql, rules: [{allow: {operation_type: querry}}]',
      'did you mean "query"?',
    ],
    [
      'graphql about any type',
      'protocol: graphql, rules: [{allow: {fields: [a]}}]',
      'needs an operation_type',
    ],
    ['a glob of json-rpc', 'protocol: json-rpc, rules: [{allow: {method: "eth_*"}}]', 'must be exact'],
    [
      'a glob of mcp outside tools/',
      'protocol: mcp, rules: [{allow: {method: "resources/*"}}]',
      'only after "tools/"',
    ],
    [
      'a tool of another method',
      'protocol: mcp, rules: [{allow: {method: tools/list, tool: x}}]',
      'needs method "tools/call"',
    ],
    [
      'tool twice',
      'protocol: mcp, rules: [{allow: {method: tools/call, tool: x, params: {name: y}}}]',
      'has both tool and params.name',
    ],
    [
      'a body limit of nothing',
      'protocol: mcp, mcp: {max_body_bytes: 0}, rules: [{allow: {method: ping}}]',
      'a whole number from 1',
    ],
  ])('%s', (_, keys, message) => {
    const { problems } = checkPolicy(policy(keys), 'p');
    expect(problems.map((problem) => problem.message).join('\n')).toContain(message);
  });
});

it('tells what it leaves out or reads otherwise than the language’s other implementation', () => {
  const { document } = checkPolicy(
    policy('protocol: rest, rules: [{allow: {method: GET}}, {allow: {method: GET, path: /}}]'),
    'p',
  );
  expect(document?.notices.map(({ message }) => message)).toEqual([
    expect.stringContaining('castellan enforces'),
    expect.stringContaining('has no path and can never match'),
  ]);
});
