import { describe, expect, it } from 'vitest';
import { globsOverlap, HOST_GLOB, PATH_GLOB, TEXT_GLOB } from '../../../src/policy/match/glob.ts';
import { hostPatternsOverlap, parseHostPattern } from '../../../src/policy/match/host.ts';
import { checkPolicy } from '../../../src/policy/parse.ts';

const policy = (...endpoints: readonly string[]) =>
  `version: 1\nnetwork_policies:\n${endpoints.map((keys, index) => `  r${index}: {endpoints: [{${keys}}], binaries: [{path: /b}]}\n`).join('')}`;
const REST = 'protocol: rest, access: read-only, enforcement: enforce';
const A = 'host: a.example, port: 443';

describe('refuses', () => {
  it.each([
    ['raw TCP or not', A, `${A}, protocol: tcp`, 'raw TCP'],
    ['different addresses', `${A}, allowed_ips: [10.0.0.0/8]`, A, 'allowed_ips'],
    ['different addresses of wildcards', 'host: "*.a.example", port: 443, allowed_ips: [10.0.0.0/8]', 'host: "**.a.example", port: 443', 'allowed_ips'],
    ['wildcards that meet in one name', 'host: "x.*.b.example", port: 1, allowed_ips: [10.0.0.0/8]', 'host: "*.y.b.example", port: 1', 'allowed_ips'],
    ['a star before the last label', 'host: "a.x.*.example", port: 1, allowed_ips: [10.0.0.0/8]', 'host: "*.x.b.example", port: 1', 'allowed_ips'],
    ['one port of several', 'host: a.example, ports: [1, 2]', 'host: a.example, ports: [2, 3], protocol: tcp', 'raw TCP'],
    ['two readings of one path', `${A}, ${REST}`, `${A}, protocol: graphql, access: full`, 'how requests are read'],
    ['two readings of equal paths', `${A}, path: "/x/*", ${REST}`, `${A}, path: "/*/x", protocol: graphql, access: full`, 'how requests are read'],
    ['enforcement', `${A}, ${REST}`, `${A}, protocol: rest, access: full, enforcement: audit`, 'enforcement'],
    ['a hidden name', A, `${A}, allow_encrypted_client_hello: true`, 'allow_encrypted_client_hello'],
    ['encoded slashes', `${A}, ${REST}`, `${A}, ${REST}, allow_encoded_slash: true`, 'allow_encoded_slash'],
    ['credentials of one path', `${A}, ${REST}, credential_binding: {provider: x}`, `${A}, ${REST}`, 'how credentials are used'],
    ['credentials of a destination that is not inspected', `${A}, credential_binding: {provider: x}`, `${A}, credential_binding: {provider: y}`, 'how credentials are used'],
    ['credentials of all requests beside those of some', `${A}, client_certificate: x`, `${A}, path: /x, protocol: rest, access: read-only`, 'how credentials are used'],
    ['body limits', `${A}, protocol: graphql, access: full`, `${A}, protocol: graphql, access: full, graphql_max_body_bytes: 1`, 'limit of bodies'],
  ])('%s', (_, one, other, message) => {
    for (const text of [policy(one, other), policy(other, one)]) {
      const { problems } = checkPolicy(text, 'p');
      expect(problems.map((problem) => problem.message)).toEqual([expect.stringContaining(message)]);
    }
  }); // biome-ignore format: a table

  it('says where both stand', () => {
    const [problem] = checkPolicy(policy(A, `${A}, protocol: tcp`), 'p').problems;
    expect(problem).toMatchObject({
      position: { line: 4 },
      message: expect.stringContaining('one of rule "r0" (line 3)'),
    });
  });
});

describe('takes', () => {
  it.each([
    ['other hosts', A, 'host: b.example, port: 443, protocol: tcp'],
    ['other ports', A, 'host: a.example, port: 444, protocol: tcp'],
    ['other wildcards', 'host: "*.a.example", port: 1, allowed_ips: [10.0.0.0/8]', 'host: "*.b.example", port: 1'],
    ['more specific paths', `${A}, ${REST}`, `${A}, path: /graphql, protocol: graphql, access: full`],
    ['paths that do not meet', `${A}, path: "/a/*", ${REST}`, `${A}, path: "/b/*", protocol: graphql, access: full`],
    ['an exact name below a wildcard', 'host: "*.a.example", port: 1, allowed_ips: [10.0.0.0/8]', 'host: x.a.example, port: 1'],
    ['the same addresses in another order', `${A}, allowed_ips: [10.0.0.0/8, 10.0.0.0/16]`, `${A}, allowed_ips: [10.0.0.0/16, 10.0.0.0/8]`],
    ['credentials of some paths', `${A}, path: "/a/**", ${REST}, credential_binding: {provider: x}`, `${A}, path: "/b/**", ${REST}`],
    ['credentials for one of two that are not inspected', `${A}, credential_binding: {provider: x}`, A],
    ['credentials of an inspected one beside one that is not', `${A}, ${REST}, credential_binding: {provider: x}`, A],
    ['several rules alike', `${A}, ${REST}`, `${A}, protocol: rest, access: full, enforcement: enforce`],
  ])('%s', (_, one, other) => {
    expect(checkPolicy(policy(one, other), 'p').problems).toEqual([]);
  }); // biome-ignore format: a table

  it('an endpoint without inspection beside one with it, and says what that means', () => {
    const { document } = checkPolicy(policy(A, `${A}, ${REST}`), 'p');
    expect(document?.notices[0]?.message).toContain('all its requests are inspected');
  });

  it('a pin that another rule for the same destination undoes, but says so', () => {
    const pin = `sha256: ${'ab'.repeat(32)}`;
    const rules = (second: string, host = 'a.example') =>
      `version: 1\nnetwork_policies:\n  r0: {endpoints: [{${A}}], binaries: [{path: /b, ${pin}}]}\n  r1: {endpoints: [{host: ${host}, port: 443}], binaries: [{${second}}]}\n`;
    const notices = (text: string) => checkPolicy(text, 'p').document?.notices.map(({ message }) => message);
    expect(notices(rules('path: /b'))).toEqual([
      'the sha256 of "/b" in rule "r0" does not hold here: rule "r1" names the same destination, and takes any content of it',
    ]);
    expect(notices(rules('path: /c'))).toEqual([]);
    expect(notices(rules(`path: /b, ${pin}`))).toEqual([]);
    expect(notices(rules('path: /b', 'b.example'))).toEqual([]);
  });

  it('ten thousand endpoints, in no time', () => {
    const many = Array.from({ length: 9000 }, (_, index) => `host: "*.h${index}.example", port: 443`);
    expect(checkPolicy(policy(...many), 'p').problems).toEqual([]);
  });
});

it.each([
  [PATH_GLOB, '/a/*', '/*/b', true],
  [PATH_GLOB, '/a/*', '/a/b/c', false],
  [PATH_GLOB, '/a/**', '/**/c', true],
  [PATH_GLOB, '/a/**/x', '/a/x', true],
  [PATH_GLOB, '/[a-f]x', '/[e-z]x', true],
  [PATH_GLOB, '/[a-f]x', '/[g-z]x', false],
  [PATH_GLOB, '/{a,b}', '/{b,c}', true],
  [PATH_GLOB, '/{a,b}', '/{c,d}', false],
  [PATH_GLOB, '/a?', '/ab', true],
  [PATH_GLOB, '/a?', '/a', false],
  [HOST_GLOB, 'a*', '*b', true],
  [HOST_GLOB, 'a*', 'b*', false],
  [TEXT_GLOB, 'read_*', '*_all', true],
  [TEXT_GLOB, 'read_*', 'write_*', false],
] as const)('%o: %s and %s overlap: %s', (dialect, one, other, expected) => {
  expect(globsOverlap(one, other, dialect)).toBe(expected);
  expect(globsOverlap(other, one, dialect)).toBe(expected);
});

it.each([
  ['*.a.example', 'x.a.example', true],
  ['*.a.example', 'x.y.a.example', false],
  ['**.a.example', 'x.y.a.example', true],
  ['**.a.example', 'a.example', false],
  ['**.a.example', '*.b.a.example', true],
  ['api-*.a.example', '*-eu.a.example', true],
  ['api-*.a.example', 'www-*.a.example', false],
  ['', 'a.example', false],
])('hosts %s and %s overlap: %s', (one, other, expected) => {
  const [a, b] = [parseHostPattern(one), parseHostPattern(other)];
  if ('problem' in a || 'problem' in b) throw new Error('no pattern');
  expect(hostPatternsOverlap(a, b)).toBe(expected);
  expect(hostPatternsOverlap(b, a)).toBe(expected);
});
