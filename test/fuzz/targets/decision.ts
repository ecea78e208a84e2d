import assert from 'node:assert/strict';
import * as v from 'valibot';
import { readTarget } from '../../../src/egress/inspect/path.ts';
import { CastellanError } from '../../../src/errors.ts';
import { compilePolicy, type Decider } from '../../../src/policy/compile.ts';
import type { Endpoint, NetworkRule } from '../../../src/policy/document.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import type { BodyFacts, RequestFacts } from '../../../src/policy/request.ts';
import type { Query } from '../../../src/policy/verdict.ts';
import { policyRules } from '../../../src/roles/parse-policy.ts';
import { decideNaively } from '../../unit/policy/naive.ts';
import type { Choices } from '../choices.ts';
import { inspectedOwners, judgeNaively, naiveRoute } from '../naive-requests.ts';
import { choiceTarget, returnsOr, type Target } from '../target.ts';

interface Scope {
  readonly hosts: readonly string[];
  readonly ports: readonly number[];
  readonly binaries: readonly string[];
  readonly protocols: readonly string[];
}

const EVERYTHING: Scope = {
  hosts: ['a.x.org', 'b.x.org', '*.x.org', '**.x.org', 'a*.x.org', '10.0.0.1'],
  ports: [443, 443, 80],
  binaries: ['/bin/a', '/bin/b', '/bin/**', '/*/a'],
  protocols: ['rest', 'rest', 'mcp', 'graphql', 'json-rpc', 'websocket', '', 'tcp'],
};
/** One destination and one program, so that endpoints often meet. */
const ONE_PLACE: readonly Scope[] = ['rest', 'mcp', 'graphql'].map((protocol) => ({
  hosts: ['a.x.org'],
  ports: [443],
  binaries: ['/bin/a'],
  protocols: [protocol],
}));
const ASKED: Scope = {
  ...EVERYTHING,
  hosts: ['a.x.org', 'b.x.org', 'ab.x.org', 'c.d.x.org', '10.0.0.1'],
  binaries: ['/bin/a', '/bin/b', '/opt/c'],
};
const PATHS = ['/a', '/a/*', '/a/**', '/**', '**', '/a/**/b', '/{a,b}/c', '/[!a]', '/a%2Fb'];
const TARGETS_ASKED = ['/a', '/b', '/a/b', '/a/c/b', '/a//b', '/a/b;x', '/a;b', '/b/c', '/a%2fb', '/', '//a'];
const METHODS = ['GET', 'POST', 'HEAD', '*'];
const GLOBS = ['x', 'x*', '*', '{x,y}', '[xy]?', 'y.z'];
const WORDS = ['x', 'y', 'xy', 'y.z', ''];
const RPC_METHODS = ['tools/call', 'tools/list', 'ping', 'own/method'];
/** So many questions to each policy: most of the time goes into making it. */
const QUESTIONS = 6;

function httpRule(choices: Choices): object {
  return {
    method: choices.pick(METHODS),
    path: choices.pick(PATHS),
    ...(choices.chance(4) && {
      query: { k: choices.chance(2) ? choices.pick(GLOBS) : { any: ['x', choices.pick(GLOBS)] } },
    }),
  };
}

function graphqlRule(choices: Choices): object {
  return {
    operation_type: choices.pick(['query', 'mutation', '*']),
    ...(choices.chance(3) && { operation_name: choices.pick(GLOBS) }),
    ...(choices.chance(2) && {
      fields: [choices.pick(GLOBS), ...choices.list(1, () => choices.pick(GLOBS))],
    }),
  };
}

function mcpRule(choices: Choices): object {
  if (choices.chance(2)) return { method: choices.pick([...RPC_METHODS, 'tools/*', '*']) };
  return {
    method: 'tools/call',
    tool: choices.pick(GLOBS),
    ...(choices.chance(2) && { arguments: { k: choices.pick(GLOBS) } }),
  };
}

const RULES_OF: Readonly<Record<string, (choices: Choices) => object>> = {
  rest: httpRule,
  websocket: httpRule,
  graphql: graphqlRule,
  'json-rpc': (choices) => ({ method: choices.pick([...RPC_METHODS, '*']) }),
  mcp: mcpRule,
};

function endpoint(choices: Choices, { hosts, ports, protocols }: Scope): object {
  const protocol = choices.pick(protocols);
  const place = { host: choices.pick(hosts), port: choices.pick(ports) };
  const makeRule = RULES_OF[protocol];
  if (makeRule === undefined) return { ...place, ...(protocol !== '' && { protocol }) };
  const knownMethods = protocol === 'mcp' && choices.chance(3);
  return {
    ...place,
    protocol,
    enforcement: choices.pick(['enforce', 'enforce', 'audit']),
    ...(choices.chance(2) && { path: choices.pick(PATHS) }),
    ...(knownMethods && { mcp: { allow_all_known_mcp_methods: true } }),
    rules: [{ allow: makeRule(choices) }, ...choices.list(2, () => ({ allow: makeRule(choices) }))],
    ...(choices.chance(2) && { deny_rules: [makeRule(choices)] }),
  };
}

/** JSON, which is YAML too. */
function policyText(choices: Choices, scope: Scope): string {
  const rules = Array.from({ length: 1 + choices.below(3) }, (_, index) => [
    `${'brq'[index]}`,
    {
      endpoints: [endpoint(choices, scope), ...choices.list(1, () => endpoint(choices, scope))],
      binaries: [
        { path: choices.pick(scope.binaries) },
        ...choices.list(1, () => ({ path: choices.pick(scope.binaries) })),
      ],
    },
  ]);
  return JSON.stringify({ version: 1, network_policies: Object.fromEntries(rules) });
}

function bodyFacts(choices: Choices, protocol: Endpoint['protocol']): BodyFacts {
  switch (protocol) {
    case 'graphql':
      return {
        kind: 'graphql',
        operations: Array.from({ length: 1 + choices.below(2) }, () => ({
          type: choices.pick(['query', 'mutation', 'subscription'] as const),
          name: choices.pick(WORDS),
          fields: [choices.pick(WORDS), ...choices.list(2, () => choices.pick(WORDS))],
        })),
      };
    case 'json-rpc':
    case 'mcp':
      return {
        kind: protocol,
        calls: Array.from({ length: 1 + choices.below(2) }, () => {
          const role = protocol === 'mcp' && choices.chance(4) ? 'receive-stream' : 'call';
          const method = role === 'call' ? choices.pick(RPC_METHODS) : '';
          return {
            role,
            method,
            tool: method === 'tools/call' ? choices.pick(WORDS) : undefined,
            parameters: choices.pick<unknown>([
              undefined,
              { k: choices.pick(WORDS) },
              { k: [choices.pick(WORDS), { y: 1 }] },
              'x',
            ]),
          };
        }),
      };
    case 'websocket':
      return choices.chance(2) ? { kind: 'websocket-text' } : { kind: 'uninspected' };
    default:
      return { kind: 'uninspected' };
  }
}

interface Question {
  readonly query: Query;
  readonly facts: Omit<RequestFacts, 'body'>;
}

function question(choices: Choices, { hosts, ports, binaries }: Scope): Question {
  const target = readTarget(choices.pick(TARGETS_ASKED), { encodedSlash: true });
  assert.ok(target.ok);
  return {
    query: {
      host: choices.pick(hosts),
      port: choices.pick(ports),
      binaries: [choices.pick(binaries), ...choices.list(1, () => choices.pick(binaries))].slice(
        choices.chance(8) ? 2 : 0,
      ),
    },
    facts: {
      method: choices.pick(['GET', 'POST', 'HEAD', 'DELETE']),
      path: target.path,
      query: choices.list(2, () => [choices.pick(['k', 'l']), choices.pick(WORDS)] as const),
    },
  };
}

interface Outcome {
  readonly connects: boolean;
  readonly protocol: string | undefined;
  readonly passes: boolean | undefined;
  readonly violates: boolean | undefined;
}

/** `body` is made for the protocol that the route asks for. */
function outcomeOf(
  decider: Decider,
  { query, facts }: Question,
  body: (protocol: Endpoint['protocol']) => BodyFacts,
): Outcome {
  const verdict = decider.decide(query);
  const none = { protocol: undefined, passes: undefined, violates: undefined };
  if (!verdict.allow || verdict.requests === undefined) return { connects: verdict.allow, ...none };
  const route = verdict.requests.route(facts.path);
  if ('allow' in route) return { connects: true, ...none, passes: false, violates: true };
  const judged = route.judge({ ...facts, body: body(route.protocol) });
  return {
    connects: true,
    protocol: route.protocol,
    passes: judged.allow,
    violates: !judged.allow || judged.violation !== undefined,
  };
}

function naiveOutcome(
  rules: readonly NetworkRule[],
  { query, facts }: Question,
  body: (protocol: Endpoint['protocol']) => BodyFacts,
): Outcome {
  const connects = decideNaively(rules, query).allow;
  const none = { protocol: undefined, passes: undefined, violates: undefined };
  if (!connects) return { connects, ...none };
  const owners = inspectedOwners(
    rules,
    (rule, endpoint) => decideNaively([{ ...rule, endpoints: [endpoint] }], query).allow,
  );
  if (owners.length === 0) return { connects, ...none };
  const protocol = naiveRoute(owners, facts.path.allow)?.endpoint.protocol;
  const judged = judgeNaively(owners, { ...facts, body: body(protocol ?? '') });
  return { connects, protocol, ...judged };
}

/** The names the other way round. */
function renamed(rules: readonly NetworkRule[]): NetworkRule[] {
  return rules.map((rule) => ({ ...rule, name: { b: 'z', q: 'm', r: 'a' }[rule.name] ?? rule.name }));
}

const decision = choiceTarget({
  name: 'decision',
  weight: 6,
  microsecondsPerByte: 200,
  check(choices) {
    const scope = choices.pick([EVERYTHING, ...ONE_PLACE]);
    const text = policyText(choices, scope);
    const document = returnsOr(
      () => parsePolicy(text, 'policy'),
      (error) => error instanceof CastellanError && error.code === 'policy_invalid',
    );
    if (document === undefined) return;
    const rules = document.network;
    const decider = compilePolicy(rules);
    const other = compilePolicy(renamed(rules));
    const wired = v.parse(policyRules, JSON.parse(JSON.stringify(rules)));
    const received = compilePolicy(wired);
    for (let count = 0; count < QUESTIONS; count++) {
      const asked = question(choices, scope === EVERYTHING ? ASKED : scope);
      const bodies = new Map<string, BodyFacts>();
      const body = (protocol: Endpoint['protocol']): BodyFacts => {
        const made = bodies.get(protocol) ?? bodyFacts(choices, protocol);
        bodies.set(protocol, made);
        return made;
      };
      const outcome = outcomeOf(decider, asked, body);
      const context = JSON.stringify({ text, asked, bodies: [...bodies] });
      assert.deepEqual(outcome, naiveOutcome(rules, asked, body), `the naive reading differs: ${context}`);
      assert.deepEqual(
        outcomeOf(received, asked, body),
        outcome,
        `the wire changes the decision: ${context}`,
      );
      assert.deepEqual(
        outcomeOf(other, asked, body),
        outcome,
        `names of rules change the decision: ${context}`,
      );
    }
  },
});

export const DECISION_TARGETS: readonly Target[] = [decision];
