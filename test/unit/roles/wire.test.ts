import { describe, expect, test } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import { type ToProcessRole, WIRE_VERSION } from '../../../src/roles/message.ts';
import { parseToNetworkRole, parseToProcessRole } from '../../../src/roles/parse.ts';
import { FROM_NETWORK_ROLE, FROM_PROCESS_ROLE, keepPhase, type Phase } from '../../../src/roles/phase.ts';
import { FLOW, IDENTITY, INTENT, KNOWN } from './wire-parts.ts';

describe('phases', () => {
  test.each<[Phase, ToProcessRole['type'], Phase | undefined]>([
    ['hello', 'hello', 'waiting'],
    ['hello', 'ready', undefined],
    ['hello', 'fact', undefined],
    ['hello', 'identify', undefined],
    ['waiting', 'hello', undefined],
    ['waiting', 'ready', undefined],
    ['waiting', 'fact', undefined],
    ['waiting', 'identify', undefined],
    ['waiting', 'fatal', 'ended'],
    ['starting', 'hello', undefined],
    ['starting', 'identify', 'starting'],
    ['starting', 'ready', 'running'],
    ['running', 'ready', undefined],
    ['running', 'stopped', undefined],
    ['running', 'fatal', 'ended'],
    ['stopping', 'fact', 'stopping'],
    ['stopping', 'stopped', 'ended'],
    ['ended', 'fact', undefined],
  ])('in phase %s the network role may%s', (phase, type, next) => {
    const keeper = keepPhase(FROM_NETWORK_ROLE);
    keeper.enter(phase);
    if (next === undefined)
      expect(() => keeper.receive(type)).toThrow(expect.objectContaining({ code: 'role_lost' }));
    else keeper.receive(type);
    expect(keeper.phase).toBe(next ?? phase);
  });

  test('the policy comes once, and answers only after it', () => {
    const keeper = keepPhase(FROM_PROCESS_ROLE);
    expect(() => keeper.receive('start')).toThrow('start in phase hello');
    keeper.enter('waiting');
    expect(() => keeper.receive('answer')).toThrow('answer in phase waiting');
    keeper.receive('start');
    expect(() => keeper.receive('start')).toThrow('start in phase starting');
  });

  test('names of every object are no message', () => {
    expect(() => keepPhase(FROM_NETWORK_ROLE).receive('constructor' as 'hello')).toThrow('constructor');
  });
});

describe('what the network role may say', () => {
  const fact = (value: object) => ({ type: 'fact', fact: value });
  const source = { address: '127.0.0.1', port: 1 };

  test.each<[string, unknown]>([
    ['hello', { type: 'hello', version: 1, pid: 5 }],
    ['ready', { type: 'ready' }],
    ['ready with placeholders', { type: 'ready', placeholders: { TOKEN: 'openshell:resolve:env:TOKEN' } }],
    ['the end of a start', { type: 'fatal', message: '1:1: x', code: 'credentials_invalid' }],
    [
      'a connection with credentials in it',
      fact({
        kind: 'connection-allowed',
        intent: INTENT,
        identity: IDENTITY,
        rule: 'r',
        address: '10.0.0.1',
        credentials: ['TOKEN'],
      }),
    ],
    ['identify', { type: 'identify', id: 1, flow: FLOW }],
    [
      'an allowed connection',
      fact({
        kind: 'connection-allowed',
        intent: INTENT,
        identity: IDENTITY,
        rule: 'r',
        address: '10.0.0.1',
      }),
    ],
    [
      'one through a proxy, with TLS',
      fact({
        kind: 'connection-allowed',
        intent: INTENT,
        identity: IDENTITY,
        rule: 'r',
        proxy: { host: 'proxy.test', port: 3128 },
        tls: { version: 'TLSv1.3', cipher: 'x', serverName: 'a.test', isResumed: true, issuer: 'CN=x' },
      }),
    ],
    [
      'a denied one without identity',
      fact({ kind: 'connection-denied', intent: INTENT, reason: 'no_policy', detail: '' }),
    ],
    [
      'a failed one',
      fact({
        kind: 'connection-failed',
        intent: { ...INTENT, http: { method: 'GET', path: '/', scheme: 'http' } },
        detail: '',
      }),
    ],
    [
      'a closed one',
      fact({
        kind: 'connection-closed',
        intent: INTENT,
        identity: IDENTITY,
        rule: 'r',
        address: '::1',
        bytesIn: 1,
        bytesOut: 2,
        durationMs: 0.5,
      }),
    ],
    [
      'DNS answered',
      fact({ kind: 'dns-answered', name: 'a.test', type: 'A', address: '198.18.0.1', source, repeats: 3 }),
    ],
    ['DNS refused', fact({ kind: 'dns-refused', name: '', type: 'TYPE64', rcode: 5, source })],
    ['a bypass', fact({ kind: 'bypass-refused', protocol: 17, source, destination: source })],
    ['an internal error', fact({ kind: 'internal-error', where: 'egress', message: 'x' })],
  ])('%s', (_name, message) => {
    expect(parseToProcessRole(JSON.parse(JSON.stringify(message)))).toEqual(message);
  });

  const forged: AuditFact[] = [
    { kind: 'supervisor-stopped', exitCode: 0, reason: 'forged' },
    {
      kind: 'process-exited',
      process: { pid: 1, argv: [], uid: 0, gid: 0, user: 'root', kind: 'main', sessionId: '' },
      exitCode: 0,
      signal: undefined,
      durationMs: 0,
    },
    { kind: 'ssh-opened', sessionId: 's', peer: { pid: 1, uid: 0, gid: 0 } },
    { kind: 'control-applied', control: 'landlock', detail: '' },
    { kind: 'audit-closed', path: '/x', records: 0 },
  ];
  test.each<[string, unknown]>([
    ...forged.map((value): [string, unknown] => [`the process role's ${value.kind}`, fact(value)]),
    ['nothing', null],
    ['an unknown type', { type: 'answer', id: 1, result: KNOWN }],
    ['an unknown key', { type: 'ready', also: 1 }],
    ['an environment that is more than placeholders', { type: 'ready', placeholders: { A: 'x\0y' } }],
    ['a placeholder with a space', { type: 'ready', placeholders: { A: 'x y' } }],
    ['a placeholder for no variable', { type: 'ready', placeholders: { 'A=B': 'x' } }],
    [
      'more placeholders than there may be',
      {
        type: 'ready',
        placeholders: Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`A${index}`, 'x'])),
      },
    ],
    ['an end by another error', { type: 'fatal', message: '', code: 'usage' }],
    ['an address that is none', { type: 'identify', id: 1, flow: { ...FLOW, localAddress: 'localhost' } }],
    ['a port that is none', { type: 'identify', id: 1, flow: { ...FLOW, localPort: 65_536 } }],
    ['a fraction', { type: 'identify', id: 1.5, flow: FLOW }],
    [
      'an issuer without end',
      fact({
        kind: 'connection-allowed',
        intent: INTENT,
        identity: IDENTITY,
        rule: 'r',
        tls: { version: 'TLSv1.3', cipher: 'x', isResumed: true, issuer: 'x'.repeat(257) },
      }),
    ],
    ['a text without end', fact({ kind: 'internal-error', where: 'x', message: 'x'.repeat(20_000) })],
    [
      'a hash that is none',
      fact({
        kind: 'connection-allowed',
        intent: INTENT,
        identity: { ...IDENTITY, sha256: 'x' },
        rule: 'r',
        address: '10.0.0.1',
      }),
    ],
    [
      'an ancestor without a word about its hash',
      fact({
        kind: 'connection-denied',
        intent: INTENT,
        identity: { ...IDENTITY, ancestorHashes: [] },
        reason: 'no_policy',
        detail: '',
      }),
    ],
    [
      'an id with other text',
      fact({
        kind: 'connection-denied',
        intent: { ...INTENT, connectionId: 'a\nb' },
        reason: 'no_policy',
        detail: '',
      }),
    ],
  ])('not %s', (_name, message) => {
    expect(() => parseToProcessRole(message)).toThrow();
  });
});

test.each([
  ['one', [{ ...IDENTITY, pid: 8 }], true],
  ['none', [], true],
  ['one without a program', [{ ...IDENTITY, executable: undefined }], false],
  ['one with heirs of its own', [{ ...IDENTITY, heirs: [] }], false],
  ['too many', Array(17).fill(IDENTITY), false],
])('heirs of a connection: %s', (_, heirs, taken) => {
  const answer = { type: 'answer', id: 1, result: { ok: true, identity: { ...IDENTITY, heirs } } };
  if (taken) expect(parseToNetworkRole(answer)).toEqual(answer);
  else expect(() => parseToNetworkRole(answer)).toThrow();
});

test('what the process role may say', () => {
  const position = { line: 1, column: 1 };
  const endpoint = { host: 'a.test', ports: [443], protocol: '', allowedIps: ['10.0.0.0/8'], position };
  const binaries = [{ path: '/bin/x' }, { path: '/bin/y', sha256: ['a'.repeat(64)] }];
  const start = {
    type: 'start',
    version: WIRE_VERSION,
    listeners: { proxy: [0, 1], transparent: [2], dnsUdp: [3], dnsTcp: [4], nflog: 5 },
    secrets: { credentials: 6 },
    takesProposals: true,
    policy: {
      generation: 1,
      mayChange: false,
      rules: [{ name: 'r', endpoints: [endpoint], binaries, position }],
    },
  };
  expect(parseToNetworkRole(start)).toEqual(start);
  expect(parseToNetworkRole({ type: 'answer', id: 1, result: KNOWN })).toEqual({
    type: 'answer',
    id: 1,
    result: KNOWN,
  });
  // Read as no pin, either would let any content pass.
  for (const sha256 of [[], ['A'.repeat(64)], 'a'.repeat(64)]) {
    const rules = [{ ...start.policy.rules[0], binaries: [{ path: '/bin/x', sha256 }] }];
    expect(() => parseToNetworkRole({ ...start, policy: { ...start.policy, rules } })).toThrow();
  }
  const upstreamProxy = {
    scheme: 'https',
    host: 'proxy.test',
    port: 3128,
    exceptions: [{ kind: 'block', value: '10.0.0.0/8', port: 443 }],
    byHostName: false,
  };
  expect(parseToNetworkRole({ ...start, upstreamProxy })).toEqual({ ...start, upstreamProxy });
  for (const wrong of [
    { scheme: 'socks5' },
    { port: 65_536 },
    { credentials: 'user:password' },
    { exceptions: [{ kind: 'glob', value: '*' }] },
    { exceptions: Array(257).fill(upstreamProxy.exceptions[0]) },
  ])
    expect(() => parseToNetworkRole({ ...start, upstreamProxy: { ...upstreamProxy, ...wrong } })).toThrow();
  expect(() => parseToNetworkRole({ ...start, version: WIRE_VERSION + 1 })).toThrow();
  expect(() => parseToNetworkRole({ ...start, listeners: { ...start.listeners, nflog: 253 } })).toThrow();
});
