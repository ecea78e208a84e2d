/** Connections that more than one program holds: what one of them may not, may not be done over it. */
import { describe, expect, test } from 'vitest';
import { decide } from '../../../src/egress/decide/decide.ts';
import type { Intent } from '../../../src/egress/stages.ts';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import type { RequestFacts } from '../../../src/policy/request.ts';

const IPS = 'allowed_ips: [10.0.0.0/16]';
const policy = parsePolicy(
  `
version: 1
network_policies:
  helper:
    endpoints: [{ host: git.test, port: 443, protocol: rest, access: full, ${IPS} }]
    binaries: [{ path: /bin/helper }]
  no-deletes:
    endpoints:
      - { host: git.test, port: 443, protocol: rest, ${IPS}, deny_rules: [{ method: DELETE }], rules: [{ allow: { method: PATCH, path: "/**" } }] }
    binaries: [{ path: /bin/restricted }]
  plain:
    endpoints: [{ host: plain.test, port: 443 }]
    binaries: [{ path: /bin/helper }]
  inspected:
    endpoints: [{ host: plain.test, port: 443, protocol: rest, access: read-only }]
    binaries: [{ path: /bin/restricted }]
  only-child:
    endpoints: [{ host: child.test, port: 443 }]
    binaries: [{ path: /bin/restricted }]
  narrow:
    endpoints: [{ host: "*.wide.test", port: 443 }]
    binaries: [{ path: /bin/helper }]
  named:
    endpoints: [{ host: a.words.test, port: 443 }, { host: a.persisted.test, port: 443 }, { host: a.tools.test, port: 443 }]
    binaries: [{ path: /bin/helper }]
  one-secret:
    endpoints: [{ host: a.secret.test, port: 443, credential_binding: { provider: one } }]
    binaries: [{ path: /bin/helper }]
  other-secret:
    endpoints: [{ host: "*.secret.test", port: 443, protocol: rest, access: full, credential_binding: { provider: other } }]
    binaries: [{ path: /bin/restricted }]
  any-words:
    endpoints: [{ host: "*.words.test", port: 443, protocol: websocket, access: full }]
    binaries: [{ path: /bin/helper }]
  operations:
    endpoints:
      - host: a.words.test
        port: 443
        protocol: websocket
        rules: [{ allow: { method: GET, path: "/**" } }, { allow: { operation_type: query, fields: [x] } }]
    binaries: [{ path: /bin/restricted }]
  known-queries:
    endpoints:
      - host: "*.persisted.test"
        port: 443
        protocol: graphql
        access: full
        persisted_queries: allow_registered
        graphql_persisted_queries: { abc: { operation_type: query, fields: [x] } }
    binaries: [{ path: /bin/helper }]
  other-queries:
    endpoints: [{ host: a.persisted.test, port: 443, protocol: graphql, access: full }]
    binaries: [{ path: /bin/restricted }]
  lax-tools:
    endpoints: [{ host: "*.tools.test", port: 443, protocol: mcp, rules: [{ allow: { method: "*" } }], mcp: { strict_tool_names: false } }]
    binaries: [{ path: /bin/helper }]
  strict-tools:
    endpoints: [{ host: a.tools.test, port: 443, protocol: mcp, rules: [{ allow: { method: "*" } }], mcp: { max_body_bytes: 100 } }]
    binaries: [{ path: /bin/restricted }]
  exact:
    endpoints: [{ host: a.wide.test, port: 443, ${IPS} }]
    binaries: [{ path: /bin/restricted }]
`,
  'policy.yaml',
);
const decider = compilePolicy(policy.network);
const flow = {
  family: 4,
  localAddress: '10.0.0.2',
  localPort: 1,
  remoteAddress: '10.0.0.1',
  remotePort: 3128,
} as const;

function ask(host: string, ...heirs: string[]) {
  const intent: Intent = { connectionId: '1', adapter: 'connect', host, port: 443, flow, startedAt: 0 };
  const eldest = {
    pid: 1,
    startTime: '1',
    uid: 1,
    executable: '/bin/helper',
    sha256: '',
    ancestors: ['/bin/sh'],
    ancestorHashes: ['0'],
  };
  const below = { ...eldest, pid: 2, ancestors: ['/bin/helper', '/bin/sh'], ancestorHashes: ['0', '0'] };
  const identity = { ...eldest, heirs: heirs.map((executable) => ({ ...below, executable })) };
  return decide(decider, { intent, objection: undefined }, { ok: true, identity });
}

/** What becomes of one request on the connection. */
function request(host: string, method: string, ...heirs: string[]): string {
  const decision = ask(host, ...heirs);
  if (!decision.ok) return decision.verdict.reason;
  const { requests } = decision.grant.verdict;
  if (requests === undefined) return 'uninspected';
  const facts: RequestFacts = {
    method,
    path: { allow: ['/x'], deny: ['/x'] },
    query: [],
    body: { kind: 'uninspected' },
  };
  const route = requests.route(facts.path);
  if (!('judge' in route)) return route.reason;
  const judged = route.judge(facts);
  return judged.allow ? `allowed by ${judged.rule}` : judged.reason;
}

describe('a connection that descendants hold too', () => {
  test.each([
    ['one that nobody says anything about', 'git.test', 'DELETE', ['/bin/pack'], 'allowed by helper'],
    ['several of them', 'git.test', 'DELETE', ['/bin/pack', '/bin/sh'], 'allowed by helper'],
    ['what the heir is refused', 'git.test', 'DELETE', ['/bin/restricted'], 'request_refused'],
    [
      'the last heir counts like the first',
      'git.test',
      'DELETE',
      ['/bin/pack', '/bin/restricted'],
      'request_refused',
    ],
    ['what both may', 'git.test', 'PATCH', ['/bin/restricted'], 'allowed by helper'],
    [
      'requests are inspected for the heir alone',
      'plain.test',
      'POST',
      ['/bin/restricted'],
      'request_not_listed',
    ],
    ['the same, allowed', 'plain.test', 'GET', ['/bin/restricted'], 'allowed by inspected'],
    ['without the heir', 'plain.test', 'POST', [], 'uninspected'],
    [
      'the heir’s own rights do not rise to the eldest',
      'child.test',
      'GET',
      ['/bin/restricted'],
      'binary_not_listed',
    ],
    [
      'a WebSocket of anything, for the heir of GraphQL',
      'a.words.test',
      'GET',
      ['/bin/restricted'],
      'request_unreadable',
    ],
    [
      'queries that only one of them knows by hash',
      'a.persisted.test',
      'POST',
      ['/bin/restricted'],
      'request_unreadable',
    ],
    ['credentials that only the heir has', 'a.secret.test', 'GET', ['/bin/restricted'], 'request_unreadable'],
    ['the heir reaches other addresses', 'a.wide.test', 'GET', ['/bin/restricted'], 'binary_not_listed'],
  ] as const)('%s', (_, host, method, heirs, becomes) => {
    expect(request(host, method, ...heirs)).toBe(becomes);
  });

  test('is read as strictly as for each of them', () => {
    const decision = ask('a.tools.test', '/bin/restricted');
    const route = decision.ok && decision.grant.verdict.requests?.route({ allow: ['/x'], deny: ['/x'] });
    expect(route).toMatchObject({ inspection: { strictToolNames: true, maxBodyBytes: 100 } });
  });
});
