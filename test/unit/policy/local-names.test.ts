/** What a policy may say of castellan's own names, and what other parts make of it. */
import { describe, expect, test } from 'vitest';
import { approveDestination } from '../../../src/egress/decide/destination.ts';
import { EGRESS_LIMITS } from '../../../src/egress/limits.ts';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { checkDestination, checkOperatorDestination } from '../../../src/policy/destination.ts';
import { localService } from '../../../src/policy/local-names.ts';
import { checkPolicy, parsePolicy } from '../../../src/policy/parse.ts';
import { INTENT } from '../audit/facts.ts';

const policy = (endpoint: string) =>
  `version: 1\nnetwork_policies:\n  own: {endpoints: [{${endpoint}}], binaries: [{path: /usr/bin/curl}]}\n`;

test.each<[string, string | undefined]>([
  ['host: inference.local, port: 443', undefined],
  ['host: INFERENCE.local, port: 443, protocol: rest, access: full', undefined],
  ['host: policy.local, port: 80', undefined],
  ['host: policy.local, port: 80, protocol: tcp', 'its protocol is "rest", or left out'],
  [
    'host: policy.local, port: 80, protocol: json-rpc, rules: [{allow: {method: a}}]',
    'its protocol is "rest"',
  ],
  ['host: inference.local, port: 443, allowed_ips: [10.0.0.0/8]', 'no address for allowed_ips'],
  ['host: "*.local", port: 443', 'top-level domain'],
])('%s', (endpoint, problem) => {
  const { problems } = checkPolicy(policy(endpoint), 'p');
  expect(problems.map(({ message }) => message)).toEqual(
    problem === undefined ? [] : [expect.stringContaining(problem)],
  );
});

test('another port is noticed', () => {
  const { notices } = parsePolicy(policy('host: policy.local, port: 443'), 'p');
  expect(notices.map(({ message }) => message)).toContainEqual(expect.stringContaining('on port 80 only'));
});

test.each<[string, number, string | undefined]>([
  ['inference.local', 443, 'inference'],
  ['inference.local', 80, undefined],
  ['policy.local', 80, 'policy'],
  ['policy.local', 443, undefined],
  ['xinference.local', 443, undefined],
  ['constructor', 443, undefined],
])('%s:%i is answered by %s', (host, port, service) => {
  expect(localService(host, port)).toBe(service);
});

test('connections to them are opened', () => {
  const opens = (endpoint: string) => compilePolicy(parsePolicy(policy(endpoint), 'p').network).inspects;
  expect(opens('host: inference.local, port: 443')).toBe(true);
  expect(opens('host: other.local, port: 443')).toBe(false);
});

test('they are never looked up', async () => {
  const [verdict] = [
    compilePolicy(parsePolicy(policy('host: policy.local, port: 8080'), 'p').network).decide({
      host: 'policy.local',
      port: 8080,
      binaries: ['/usr/bin/curl'],
    }),
  ];
  if (!verdict.allow) throw new Error('not allowed');
  const executable = '/usr/bin/curl';
  const who = { pid: 1, startTime: '1', uid: 1, executable, sha256: '' };
  const identity = { ...who, ancestors: [], ancestorHashes: [] };
  const intent = { ...INTENT, host: 'policy.local', port: 8080 };
  const resolve = () => Promise.reject(new Error('a look-up'));
  const found = await approveDestination(
    intent,
    { verdict, identity },
    { resolve, check: checkDestination, limits: EGRESS_LIMITS },
  );
  expect(found).toMatchObject({
    ok: false,
    refusal: { error: 'name_resolution_failed', detail: expect.stringContaining('on port 80') },
  });
});

describe('endpoints that the operator wrote', () => {
  test.each<['http' | 'https', number, readonly string[], boolean]>([
    ['https', 443, ['8.8.8.8'], true],
    ['https', 443, ['10.0.0.1', '127.0.0.1', '::1', 'fd00::1'], true],
    ['http', 8000, ['127.0.0.1', '192.168.1.1'], true],
    ['http', 80, ['8.8.8.8'], false],
    ['http', 80, ['127.0.0.1', '8.8.8.8'], false],
    ['https', 443, ['169.254.169.254'], false],
    ['https', 443, ['100.100.100.200'], false],
    ['https', 443, ['fd00:ec2::254'], false],
    ['https', 443, ['64:ff9b::a9fe:a9fe'], false],
    ['https', 443, ['::ffff:169.254.169.254'], false],
    ['https', 443, ['0.0.0.0'], false],
    ['https', 443, ['8.8.8.8', '224.0.0.1'], false],
    ['https', 6443, ['10.0.0.1'], false],
    ['https', 2379, ['8.8.8.8'], false],
    ['https', 443, [], false],
    ['https', 443, ['x'], false],
  ])('%s port %i at %j: %j', (scheme, port, addresses, ok) => {
    expect(checkOperatorDestination(scheme, 'm.test', port, addresses).ok).toBe(ok);
  });
});
