/** What writers of facts, answers and policies give at most, crosses the wire: a refused message would end the run. */
import { expect, test } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import { parseCredentials } from '../../../src/credential/parse.ts';
import { requestTarget } from '../../../src/egress/accept/http-target.ts';
import { intentOf } from '../../../src/egress/accept/request.ts';
import { EGRESS_LIMITS } from '../../../src/egress/limits.ts';
import { createDenialBook } from '../../../src/egress/local/denials.ts';
import { cleanReport } from '../../../src/egress/report.ts';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { FACT_LIMITS } from '../../../src/policy/fact-limits.ts';
import { checkPolicy, parsePolicy } from '../../../src/policy/parse.ts';
import { readProposal } from '../../../src/policy/proposal.ts';
import { requestNames } from '../../../src/policy/request-names.ts';
import { DENY_REASONS } from '../../../src/policy/verdict.ts';
import { parseToNetworkRole, parseToProcessRole } from '../../../src/roles/parse.ts';
import { watchExpiry } from '../../../src/start/expiry.ts';
import { readSource } from '../../architecture/sources.ts';
import { SAMPLES } from '../audit/facts.ts';
import { FLOW, IDENTITY, INTENT } from './wire-parts.ts';

const over = <Message>(message: Message, parse: (value: unknown) => unknown): void =>
  expect(parse(JSON.parse(JSON.stringify(message)))).toEqual(JSON.parse(JSON.stringify(message)));
const factOver = (fact: object): void => over({ type: 'fact', fact }, parseToProcessRole);
const LONG = 'x'.repeat(100_000);

test('a request with the longest method and path, and a detail without end', () => {
  const conversation = {
    client: { connectionId: '0f-1' } as never,
    flow: FLOW,
    dialled: undefined,
  };
  const authority = { host: 'h'.repeat(FACT_LIMITS.host), port: 443 };
  const asked = { method: LONG, target: `/${LONG}` };
  const intent = intentOf({ ...conversation, requests: 0 }, 'forward', authority, asked);
  const facts: AuditFact[] = [];
  const report = cleanReport(
    (fact) => facts.push(fact),
    (text) => text + LONG,
  );
  for (const reason of DENY_REASONS)
    report({ kind: 'connection-denied', intent, identity: undefined, reason, detail: LONG, rule: undefined });
  expect(facts).toHaveLength(DENY_REASONS.length);
  for (const fact of facts) factOver(fact);
});

test('the longest request target that is taken is recorded whole', () => {
  const target = `http://a.test/${'x'.repeat(EGRESS_LIMITS.headBytes - 200)}`;
  const request = {
    method: 'GET',
    url: target,
    httpVersion: '1.1',
    headers: { host: 'a.test' },
    rawHeaders: [],
  };
  expect(requestTarget(request, undefined)).toMatchObject({ ok: true });
  expect(FACT_LIMITS.text).toBeGreaterThanOrEqual(EGRESS_LIMITS.headBytes);
});

test('what a request asks for, at most', () => {
  const call = {
    role: 'call',
    method: 'm'.repeat(FACT_LIMITS.name / 2),
    tool: 't'.repeat(FACT_LIMITS.name / 4),
  };
  for (const count of [FACT_LIMITS.names, FACT_LIMITS.names + 1]) {
    const inspected = requestNames('mcp', { kind: 'mcp', calls: Array(count).fill(call) } as never);
    expect(inspected.partial ?? false).toBe(count > FACT_LIMITS.names);
    const http = { method: 'POST', path: '/', scheme: 'https', inspected } as const;
    factOver({ kind: 'message-allowed', intent: { ...INTENT, http }, identity: IDENTITY, rule: 'r' });
  }
});

test('a sum of more refusals than are told', () => {
  const facts: AuditFact[] = [];
  const book = createDenialBook((fact) => facts.push(fact), EGRESS_LIMITS);
  for (let host = 0; host < EGRESS_LIMITS.countedDenials + 1; host++)
    for (let path = 0; path < EGRESS_LIMITS.denialRequests + 1; path++)
      book.report({
        kind: 'connection-denied',
        intent: {
          ...INTENT,
          host: `${host}`.padStart(FACT_LIMITS.host, 'h'),
          http: { method: 'M'.repeat(FACT_LIMITS.method), path: `/${path}/${LONG}`, scheme: 'http' },
        },
        identity: IDENTITY,
        reason: 'host_not_listed',
        detail: '',
        rule: undefined,
      });
  facts.length = 0;
  book.flush();
  expect(facts[0]).toMatchObject({ denials: { length: FACT_LIMITS.denials } });
  for (const fact of facts) factOver(fact);
});

test('a proposal of the longest form', () => {
  const paths = Array.from({ length: 20 }, (_, index) => `/${'p'.repeat(100)}/${index}`);
  const rule = {
    endpoints: [
      { host: '*.a.test', port: 50_000, protocol: 'rest', rules: paths.map((path) => ({ allow: { path } })) },
      ...Array.from({ length: 12 }, (_, index) => ({ host: `*.b${index}.test`, port: 50_000 })),
    ],
    binaries: [{ path: '/usr/bin/curl' }],
  };
  const read = readProposal(
    {
      intent_summary: 's'.repeat(FACT_LIMITS.proposalSummary),
      operations: [{ addRule: { ruleName: 'r'.repeat(64), rule } }],
    },
    compilePolicy([], 0),
  );
  if (!read.ok) throw new Error(read.problems.join('\n'));
  const [first] = read.rules;
  expect(first?.grants).toHaveLength(FACT_LIMITS.proposalLines);
  const [sample] = SAMPLES['policy-proposal'];
  factOver({ ...sample, ...first, rule: undefined, isCovered: undefined, summary: read.summary });
});

test('rules that end all at once', () => {
  const network = Object.fromEntries(
    Array.from({ length: FACT_LIMITS.expiredRules + 1 }, (_, index) => [
      `${index}`.padStart(64, 'r'),
      {
        expires: '2020-01-01T00:00:00Z',
        endpoints: [{ host: `h${index}.test`, port: 1 }],
        binaries: [{ path: '/x' }],
      },
    ]),
  );
  const { network: rules } = parsePolicy(JSON.stringify({ version: 1, network_policies: network }), 'p');
  const ending = rules.map((rule) => ({ ...rule, expires: Date.now() + 1 }));
  return new Promise<void>((resolve, reject) => {
    const watch = watchExpiry(
      () => 0,
      (fact) => {
        try {
          expect(fact).toMatchObject({ rules: { length: FACT_LIMITS.expiredRules } });
          factOver(fact);
          resolve();
        } catch (error) {
          reject(error);
        }
      },
    );
    watch.follow(ending);
  });
});

test('as many credentials as a file may list, with the longest names and placeholders', () => {
  const list = (count: number) =>
    JSON.stringify({
      version: 1,
      credentials: Object.fromEntries(
        Array.from({ length: count }, (_, index) => [
          `N${index}_`.padEnd(FACT_LIMITS.credentialName, 'X'),
          { value: 'secret', provider: 'p', prefix: 'p'.repeat(64) },
        ]),
      ),
    });
  const { credentials } = parseCredentials(list(FACT_LIMITS.credentials));
  const placeholders = Object.fromEntries(credentials.map(({ name, placeholder }) => [name, placeholder]));
  expect(Object.keys(placeholders)).toHaveLength(FACT_LIMITS.credentials);
  over({ type: 'ready', placeholders }, parseToProcessRole);
  expect(() => parseCredentials(list(FACT_LIMITS.credentials + 1))).toThrow();
});

test('identities with as many ancestors and heirs as are looked for', () => {
  const entries = /#define MAX_ENTRIES (\d+)/.exec(readSource('native/posix/lineage.c'))?.[1];
  expect(Number(entries)).toBe(FACT_LIMITS.ancestors + 1);
  const path = `/${'p'.repeat(FACT_LIMITS.path - 1)}`;
  const holder = {
    ...IDENTITY,
    executable: path,
    ancestors: Array(FACT_LIMITS.ancestors).fill(path),
    ancestorHashes: Array(FACT_LIMITS.ancestors).fill(''),
  };
  const identity = { ...holder, heirs: Array(FACT_LIMITS.heirs).fill(holder) };
  over({ type: 'answer', id: 1, result: { ok: true, identity } }, parseToNetworkRole);
});

const endpoint = { host: 'a.test', port: 443, access: 'full' };
test.each<[string, (text: string) => object]>([
  ['an id of a persisted query', (text) => ({ ...endpoint, ...persisted({ [text]: operation('n') }) })],
  ['its name', (text) => ({ ...endpoint, ...persisted({ a: operation(text) }) })],
  ['a query key', (text) => ({ ...restRule({ method: 'GET', path: '/', query: { [text]: 'a' } }) })],
  ['a method', (text) => restRule({ method: text, path: '/' })],
  ['a provider', (text) => ({ host: 'a.test', port: 443, credential_binding: { provider: text } })],
  ['a certificate’s name', (text) => ({ ...endpoint, protocol: 'rest', client_certificate: text })],
])('a policy whose text the other role would not take is refused: %s', (_, make) => {
  const check = (length: number) =>
    checkPolicy(
      JSON.stringify({
        version: 1,
        network_policies: { r: { endpoints: [make('x'.repeat(length))], binaries: [{ path: '/x' }] } },
      }),
      'p',
    );
  const { document } = check(FACT_LIMITS.text);
  if (document !== undefined)
    over({ type: 'policy', generation: 2, rules: document.network }, parseToNetworkRole);
  expect(check(FACT_LIMITS.text + 1).problems[0]?.message).toContain('longer than 16384 characters');
});

const operation = (name: string) => ({ operation_type: 'query', operation_name: name, fields: ['f'] });
const persisted = (queries: object) => ({
  protocol: 'graphql',
  persisted_queries: 'allow_registered',
  graphql_persisted_queries: queries,
});
const restRule = (allow: object) => ({ host: 'a.test', port: 443, protocol: 'rest', rules: [{ allow }] });
