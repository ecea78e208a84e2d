/** covers() against the decider: a yes must never be wrong, and what was pasted must be found. */
import { describe, expect, test } from 'vitest';
import { type Answer, type Question, simulate } from '../../../src/egress/simulate.ts';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { covers } from '../../../src/policy/covers.ts';
import type { NetworkRule } from '../../../src/policy/document.ts';
import { checkPolicy, parsePolicy } from '../../../src/policy/parse.ts';
import { renderRules } from '../../../src/policy/render.ts';
import { type Random, seededRandom } from '../random.ts';

const rules = (text: string): readonly NetworkRule[] =>
  parsePolicy(`version: 1\nnetwork_policies:\n${text}`, 'p').network;
const rule = (endpoint: string, binary = '/usr/bin/curl', name = 'r'): string =>
  `  ${name}: {endpoints: [{${endpoint}}], binaries: [{path: "${binary}"}]}\n`;
const REST = (more: string): string => `host: a.test, port: 443, protocol: rest, ${more}`;
const GET = 'rules: [{allow: {method: GET, path: "/v1/**"}}]';

const [A, B] = ['a'.repeat(64), 'b'.repeat(64)] as const;
const pinned = (hashes: readonly string[]): string =>
  `  r: {endpoints: [{host: a.test, port: 443}], binaries: [{path: /b${hashes.length > 0 ? `, sha256: [${hashes}]` : ''}}]}\n`;

describe.each<[string, string, string, boolean]>([
  ['itself', rule('host: a.test, port: 443'), rule('host: a.test, port: 443'), true],
  ['another port', rule('host: a.test, port: 443'), rule('host: a.test, port: 80'), false],
  ['one of its ports', rule('host: a.test, ports: [80, 443]'), rule('host: a.test, port: 80'), true],
  ['a host under a wildcard', rule('host: "*.b.test", port: 443'), rule('host: a.b.test, port: 443'), true],
  ['a wildcard under a host', rule('host: a.b.test, port: 443'), rule('host: "*.b.test", port: 443'), false],
  ['a program under a pattern', rule('host: a.test, port: 443', '/usr/bin/*'), rule('host: a.test, port: 443'), true],
  ['a program that only looks like a pattern', rule('host: a.test, port: 443', '/a?c'), rule('host: a.test, port: 443', '/abc'), false],
  ['requests, where all may pass', rule('host: a.test, port: 443'), rule(REST(GET)), true],
  ['all, where requests are inspected', rule(REST('access: full')), rule('host: a.test, port: 443'), false],
  ['a narrower path', rule(REST(GET)), rule(REST('rules: [{allow: {method: GET, path: /v1/a}}]')), true],
  ['a wider path', rule(REST(GET)), rule(REST('rules: [{allow: {method: GET, path: "/**"}}]')), false],
  ['HEAD, which goes with GET', rule(REST(GET)), rule(REST('rules: [{allow: {method: HEAD, path: /v1/a}}]')), true],
  ['another method', rule(REST(GET)), rule(REST('rules: [{allow: {method: POST, path: /v1/a}}]')), false],
  ['what a deny rule is about', rule(REST(`${GET}, deny_rules: [{path: /v1/a}]`)), rule(REST(GET)), false],
  ['the same deny rule', rule(REST(`${GET}, deny_rules: [{path: /v1/a}]`)), rule(REST(`${GET}, deny_rules: [{path: /v1/a}]`)), true],
  ['audit, where rules are enforced', rule(REST(GET)), rule(REST(`enforcement: audit, ${GET}`)), false],
  ['the same addresses', rule('host: a.test, port: 443, allowed_ips: [10.0.0.0/8]'), rule('host: a.test, port: 443, allowed_ips: [10.0.0.0/8]'), true],
  ['public addresses, where others are listed', rule('host: a.test, port: 443, allowed_ips: [10.0.0.0/8]'), rule('host: a.test, port: 443'), false],
  ['raw TCP, where TLS is expected', rule('host: a.test, port: 443'), rule('host: a.test, port: 443, protocol: tcp'), false],
  ['TLS that may hide its name', rule('host: a.test, port: 443, allow_encrypted_client_hello: true'), rule('host: a.test, port: 443'), true],
  ['TLS that may hide its name, where it may not', rule('host: a.test, port: 443'), rule('host: a.test, port: 443, allow_encrypted_client_hello: true'), false],
  ['a program, where its content is pinned', pinned([A]), pinned([]), false],
  ['the same content', pinned([A, B]), pinned([A]), true],
  ['other content', pinned([A]), pinned([A, B]), false],
  ['pinned content, where any will do', pinned([]), pinned([A]), true],
  ['nobody', rule('host: a.test, port: 443'), '  r: {endpoints: [{host: b.test, port: 1}], binaries: []}\n', true],
])('%s', (_, present, wanted, expected) => {
  test(`is ${expected ? '' : 'not '}covered`, () => {
    const [asked] = rules(wanted);
    if (asked === undefined) throw new Error('no rule');
    expect(covers(rules(present), asked)).toBe(expected);
  });
}); // biome-ignore format: a table

test('a rule covers until it ends, and refuses after that too', () => {
  const END = Date.parse('2030-01-01T00:00:00Z');
  const ending = (more: string): readonly NetworkRule[] =>
    rules(
      `  r: {expires: "2030-01-01T00:00:00Z", endpoints: [{${REST(more)}}], binaries: [{path: /usr/bin/curl}]}\n`,
    );
  const [wanted] = rules(rule(REST(GET)));
  if (wanted === undefined) throw new Error('no rule');
  expect(covers(ending(GET), wanted, END - 1)).toBe(true);
  expect(covers(ending(GET), wanted, END)).toBe(false);
  expect(covers(ending(GET), wanted)).toBe(false);
  const both = [...ending(`${GET}, deny_rules: [{path: /v1/a}]`), wanted];
  expect(covers(both, wanted, END)).toBe(false);
});

const HOSTS = ['a.test', 'b.test', 'x.a.test', '10.1.2.3'];
const BINARIES = ['/usr/bin/curl', '/usr/bin/git', '/opt/x/y', '/a?c', '/abc'];
const PATHS = ['/', '/v1', '/v1/a', '/v1/a/b', '/v2', '/v1/a%2Fb'];
/** Between the ends that rules have. */
const NOW = Date.parse('2030-01-01T00:00:00Z');
const METHODS = ['GET', 'HEAD', 'POST'];

function randomEndpoint(random: Random): string {
  const host = random.pick([...HOSTS, '*.a.test', '**.a.test']);
  const port = random.pick(['port: 443', 'ports: [80, 443]', 'port: 80']);
  const addresses = random.pick(['', '', '', ', allowed_ips: [10.0.0.0/8]']);
  const path = () => random.pick(['/**', '**', '/v1/**', '/v1/*', '/v1/a', '/v*', '/v1/{a,b}']);
  const pattern = () => `method: ${random.pick(['GET', 'POST', '"*"'])}, path: "${path()}"`;
  const inspection = random.pick([
    '',
    '',
    ', protocol: tcp',
    `, protocol: rest, rules: [{allow: {${pattern()}}}, {allow: {${pattern()}}}]`,
    `, protocol: rest, rules: [{allow: {${pattern()}}}], deny_rules: [{path: "${path()}"}]`,
    `, protocol: rest, enforcement: audit, rules: [{allow: {${pattern()}}}]`,
    `, protocol: rest, path: "/v1/**", allow_encoded_slash: true, rules: [{allow: {${pattern()}}}]`,
  ]);
  return `{host: "${host}", ${port}${addresses}${inspection}}`;
}

function randomRules(random: Random, count: number): readonly NetworkRule[] {
  const texts = Array.from({ length: count }, (_, index) => {
    const binary = random.pick([...BINARIES, '/usr/bin/*', '/**', '/a*']);
    const endpoints = Array.from({ length: 1 + random.below(2) }, () => randomEndpoint(random));
    const expires = random.pick([
      '',
      '',
      '',
      'expires: "2029-01-01T00:00:00Z", ',
      'expires: "2031-01-01T00:00:00Z", ',
    ]);
    const pins = random.pick(['', '', '', `, sha256: ${A}`, `, sha256: [${A}, ${B}]`]);
    return `  r${index}: {${expires}endpoints: [${endpoints.join(', ')}], binaries: [{path: "${binary}"${pins}}]}`;
  });
  return checkPolicy(`version: 1\nnetwork_policies:\n${texts.join('\n')}\n`, 'p').document?.network ?? [];
}

function* questions(random: Random): Generator<Question> {
  for (const host of HOSTS)
    for (const port of [80, 443])
      for (const binary of BINARIES) {
        const asking = { host, port, binaries: [binary], hashes: [random.pick(['unknown', A, B])] } as const;
        yield asking;
        for (const method of METHODS)
          for (const target of PATHS)
            yield {
              ...asking,
              request: { method, target, headers: {}, body: Buffer.alloc(0) },
            };
      }
}

/** Another rule, or less of one of these; now and then a little more. */
function related(present: readonly NetworkRule[], random: Random): NetworkRule | undefined {
  const whole = random.pick(present);
  const endpoint = random.pick(whole.endpoints);
  const ports = random.below(2) === 0 ? endpoint.ports.slice(0, 1) : endpoint.ports;
  const host = random.below(3) === 0 ? random.pick(HOSTS) : endpoint.host;
  const { inspection } = endpoint;
  const allow = inspection?.allow.slice(0, 1 + random.below(2)).map((pattern) => ({
    ...pattern,
    ...(random.below(3) === 0 && { path: random.pick(['/v1/a', '/v1/*', '/v2']) }),
  }));
  const narrowed = inspection &&
    allow && { ...inspection, allow, ...(random.below(2) === 0 && { enforcement: 'enforce' as const }) };
  const path = random.below(2) === 0 ? random.pick(BINARIES) : whole.binaries[0]?.path;
  if (path === undefined) return undefined;
  return {
    ...whole,
    name: 'wanted',
    endpoints: [{ ...endpoint, host, ports, inspection: narrowed }],
    binaries: [{ path, ...(random.below(2) === 0 && { sha256: random.pick([[A], [A, B]]) }) }],
  };
}

const passes = ({ verdict }: Answer): boolean => verdict !== 'deny';

describe('against the decider', () => {
  test('a yes is never wrong', async () => {
    const random = seededRandom(23);
    let yes = 0;
    for (let round = 0; round < 2400; round += 1) {
      const present = randomRules(random, 1 + random.below(3));
      if (present.length === 0) continue;
      const wanted = random.below(4) === 0 ? randomRules(random, 1)[0] : related(present, random);
      if (wanted === undefined || !covers(present, wanted, NOW)) continue;
      yes += 1;
      const [of, by] = [compilePolicy([wanted], NOW), compilePolicy(present, NOW)];
      for (const question of questions(random))
        if (passes(await simulate(of, question)))
          expect(
            passes(await simulate(by, question)),
            renderRules([...present, wanted]) + JSON.stringify(question),
          ).toBe(true);
    }
    expect(yes).toBeGreaterThan(200);
  });

  test('what stands alone is covered once it is pasted', () => {
    const random = seededRandom(29);
    for (let round = 0; round < 1000; round += 1) {
      const [wanted] = randomRules(random, 1);
      // Endpoints of one rule that cut across each other are beyond what is looked at.
      if (wanted === undefined || wanted.endpoints.length > 1) continue;
      expect(
        covers(parsePolicy(`version: 1\n${renderRules([wanted])}`, 'p').network, wanted, 0),
        renderRules([wanted]),
      ).toBe(true);
    }
  });
});
