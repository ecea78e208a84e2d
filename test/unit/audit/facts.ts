/** At least one fact of every kind, as flows report them. A kind without a sample does not compile. */
import type { AuditFact } from '../../../src/audit/event.ts';
import {
  CLOSED,
  FORWARD_CLOSED,
  FORWARD_REFUSED,
  IDENTITY,
  INTENT,
  METHODS,
  MODEL_CALL,
  OWNERSHIP,
  PEER,
  PROCESS,
  PROPOSAL,
  request,
  SOURCE,
  TRANSPARENT_6,
} from './fact-parts.ts';

export { CONTEXT, IDENTITY, INTENT, request } from './fact-parts.ts';

type Kind = AuditFact['kind'];
type FactOf<K extends Kind> = Extract<AuditFact, { readonly kind: K }>;
type SampleTable = { readonly [K in Kind]: readonly [FactOf<K>, ...FactOf<K>[]] };

export const SAMPLES: SampleTable = {
  'supervisor-started': [
    { kind: 'supervisor-started', mode: 'root', pid: 7 },
    { kind: 'supervisor-started', mode: 'rootless', pid: 7 },
    { kind: 'supervisor-started', mode: 'process-only', pid: 7 },
  ],
  'supervisor-ready': [
    { kind: 'supervisor-ready', sshSocket: '/run/castellan/a/ssh.sock', durationMs: 312.7 },
  ],
  'supervisor-stopped': [{ kind: 'supervisor-stopped', exitCode: 137, reason: 'the command ended' }],
  'supervisor-failed': [
    { kind: 'supervisor-failed', code: 'policy_invalid', step: 'policy', message: 'line 3: unknown key' },
  ],
  'audit-opened': [{ kind: 'audit-opened', path: '/var/log/castellan/a.jsonl' }],
  'audit-closed': [{ kind: 'audit-closed', path: '/var/log/castellan/a.jsonl', records: 42 }],
  'policy-loaded': [
    {
      kind: 'policy-loaded',
      path: '/etc/castellan/policy.yaml',
      digest: 'sha256:0cc0',
      rules: 2,
      notices: [],
    },
    {
      kind: 'policy-loaded',
      path: 'built-in',
      digest: 'sha256:0cc1',
      rules: 0,
      notices: ['line 2: never matches'],
      closed: 3,
    },
  ],
  'policy-rejected': [
    {
      kind: 'policy-rejected',
      path: '/etc/castellan/policy.yaml',
      reason: 'line 3: unknown key',
      effect: 'kept',
    },
    {
      kind: 'policy-rejected',
      path: '/etc/castellan/policy.yaml',
      reason: 'cannot be read',
      effect: 'denied',
    },
  ],
  'rules-expired': [{ kind: 'rules-expired', rules: ['items'], closed: 2 }],
  'identity-resolved': [
    { kind: 'identity-resolved', user: 'sandbox', uid: 20001, gid: 20001, source: 'the policy' },
  ],
  'path-prepared': [
    { kind: 'path-prepared', path: '/work/new', action: 'created' },
    { kind: 'path-prepared', path: '/tmp', action: 'kept' },
  ],
  'workspace-owned': [
    { kind: 'workspace-owned', path: '/work', uid: 20001, gid: 20001, counts: OWNERSHIP },
    {
      kind: 'workspace-owned',
      path: '/work',
      uid: 20001,
      gid: 20001,
      counts: { ...OWNERSHIP, mounts: 2, readOnlyMounts: 1, linked: 3 },
    },
  ],
  'workspace-mapped': [
    {
      kind: 'workspace-mapped',
      path: '/work',
      diskUid: 1000,
      diskGid: 1000,
      uid: 20001,
      gid: 20001,
    },
  ],
  'path-skipped': [{ kind: 'path-skipped', path: '/opt/none', reason: 'ENOENT' }],
  'control-applied': [{ kind: 'control-applied', control: 'landlock', detail: 'ABI 7, 12 rules' }],
  'control-degraded': [
    { kind: 'control-degraded', control: 'landlock', reason: 'this kernel has none', remedy: 'use another' },
  ],
  'process-launched': [
    { kind: 'process-launched', process: PROCESS },
    { kind: 'process-launched', process: { ...PROCESS, kind: 'exec', sessionId: 'ssh-1/0', argv: [] } },
  ],
  'process-exited': [
    { kind: 'process-exited', process: PROCESS, exitCode: 0, signal: undefined, durationMs: 10 },
    { kind: 'process-exited', process: PROCESS, exitCode: 137, signal: 'SIGKILL', durationMs: 0.2 },
  ],
  'launch-refused': [
    {
      kind: 'launch-refused',
      argv: ['nope'],
      sessionId: 'main',
      step: 'launch/execute',
      errno: 'ENOENT',
      object: 'nope',
    },
    {
      kind: 'launch-refused',
      argv: ['/x'],
      sessionId: 'main',
      step: 'launch/execute',
      errno: 'EACCES',
      object: undefined,
    },
  ],
  'connection-allowed': [
    { kind: 'connection-allowed', intent: INTENT, identity: IDENTITY, rule: 'items', address: '203.0.113.6' },
    {
      kind: 'connection-allowed',
      intent: TRANSPARENT_6,
      identity: { ...IDENTITY, ancestors: [], ancestorHashes: [] },
      rule: 'items',
      address: '2001:db8::5',
    },
    {
      kind: 'connection-allowed',
      intent: request('GET'),
      identity: IDENTITY,
      rule: 'items',
      address: '203.0.113.6',
    },
    {
      kind: 'connection-allowed',
      intent: INTENT,
      identity: IDENTITY,
      rule: 'items',
      address: undefined,
      proxy: { host: 'proxy.example.org', port: 3128 },
      tls: {
        version: 'TLSv1.3',
        cipher: 'TLS_AES_128_GCM_SHA256',
        serverName: 'api.example.org',
        isResumed: true,
        issuer: 'CN=Some CA, O=Some\nbody',
        serialNumber: '0A',
      },
    },
    {
      kind: 'connection-allowed',
      intent: INTENT,
      identity: IDENTITY,
      rule: 'items',
      address: '203.0.113.6',
      proxy: { host: '10.1.2.3', port: 3128 },
      tls: {
        version: 'TLSv1.2',
        cipher: 'x',
        serverName: undefined,
        isResumed: false,
        issuer: undefined,
        serialNumber: undefined,
      },
    },
    {
      kind: 'connection-allowed',
      intent: request('GET'),
      identity: IDENTITY,
      rule: 'items',
      address: '203.0.113.6',
      credentials: ['GITHUB_TOKEN', 'OTHER'],
    },
  ],
  'message-allowed': [
    {
      kind: 'message-allowed',
      intent: {
        ...request('GET'),
        http: {
          method: 'GET',
          path: '/graphql',
          scheme: 'https',
          inspected: {
            protocol: 'websocket',
            operations: [{ type: 'subscription', name: 'Ticks', fields: ['tick'] }],
          },
        },
      },
      identity: IDENTITY,
      rule: 'items',
    },
  ],
  'request-violation': [
    {
      kind: 'request-violation',
      intent: request('DELETE'),
      identity: IDENTITY,
      reason: 'request_not_listed',
      detail: 'DELETE /v1/items is not allowed by any rule',
      rule: 'items',
    },
  ],
  'connection-denied': [
    {
      kind: 'connection-denied',
      intent: INTENT,
      identity: IDENTITY,
      reason: 'host_not_listed',
      detail: 'no rule names it',
      rule: undefined,
    },
    {
      kind: 'connection-denied',
      intent: TRANSPARENT_6,
      identity: undefined,
      reason: 'identity_unknown',
      detail: 'no socket',
      rule: 'near',
    },
    ...METHODS.map((method) => ({
      kind: 'connection-denied' as const,
      intent: request(method),
      identity: IDENTITY,
      reason: 'binary_not_listed' as const,
      detail: 'another program',
      rule: 'near',
    })),
    {
      kind: 'connection-denied',
      intent: request('POST'),
      identity: IDENTITY,
      reason: 'credential_endpoint_mismatch',
      detail: 'the credential GITHUB_TOKEN may not go to api.example.org:443',
      rule: 'items',
    },
  ],
  'connection-failed': [
    { kind: 'connection-failed', intent: INTENT, identity: IDENTITY, rule: 'items', detail: 'ECONNREFUSED' },
    {
      kind: 'connection-failed',
      intent: request('POST'),
      identity: undefined,
      rule: undefined,
      detail: 'timed out',
    },
  ],
  'connection-closed': [
    { kind: 'connection-closed', intent: INTENT, identity: IDENTITY, ...CLOSED },
    { kind: 'connection-closed', intent: request('GET'), identity: IDENTITY, ...CLOSED, httpStatus: 204 },
    {
      kind: 'connection-closed',
      intent: request('GET'),
      identity: IDENTITY,
      ...CLOSED,
      credentials: ['TOKEN'],
    },
    { kind: 'connection-closed', intent: request('PROPFIND'), identity: IDENTITY, ...CLOSED },
  ],
  'model-called': [
    { kind: 'model-called', ...MODEL_CALL, httpStatus: 200, inputTokens: 12, outputTokens: 400 },
    { kind: 'model-called', ...MODEL_CALL, intent: request('GET', '/v1/models'), detail: 'ECONNREFUSED' },
  ],
  'policy-proposal': [
    { ...PROPOSAL, state: 'pending' },
    { ...PROPOSAL, state: 'approved' },
    { ...PROPOSAL, state: 'superseded' },
  ],
  'denials-counted': [
    {
      kind: 'denials-counted',
      ...{ since: 1_795_460_000_000, total: 9, unlisted: 2 },
      denials: [
        {
          ...{ host: 'a.example', port: 443, binary: '/usr/bin/curl', reason: 'host_not_listed', count: 7 },
          ...{ firstSeen: 1_795_460_000_100, lastSeen: 1_795_460_000_200, requests: ['GET /a/*'] },
        },
      ],
    },
  ],
  'dns-answered': [
    { kind: 'dns-answered', name: 'api.example.org', type: 'A', address: '198.18.0.1', source: SOURCE },
    { kind: 'dns-answered', name: '', type: 'TYPE65', address: undefined, source: SOURCE, repeats: 12 },
  ],
  'dns-refused': Array.from({ length: 16 }, (_, rcode) => ({
    kind: 'dns-refused' as const,
    name: 'evil.example',
    type: 'A',
    rcode,
    source: SOURCE,
    ...(rcode === 5 && { repeats: 3 }),
  })) as [FactOf<'dns-refused'>, ...FactOf<'dns-refused'>[]],
  'bypass-refused': [
    {
      kind: 'bypass-refused',
      protocol: 17,
      source: SOURCE,
      destination: { address: '203.0.113.9', port: 443 },
      uid: 20001,
    },
    {
      kind: 'bypass-refused',
      protocol: 58,
      source: { address: 'fd00::2', port: 0 },
      destination: { address: '2001:db8::9', port: 0 },
      uid: undefined,
    },
    {
      kind: 'bypass-refused',
      protocol: 255,
      source: SOURCE,
      destination: { address: '203.0.113.9', port: 0 },
      uid: 0,
    },
  ],
  'control-refused': [{ kind: 'control-refused', peer: PEER, reason: 'uid 1337 is nobody of the sandbox' }],
  'ssh-listening': [{ kind: 'ssh-listening', path: '/run/castellan/a/ssh.sock' }],
  'ssh-opened': [{ kind: 'ssh-opened', sessionId: 'ssh-1', peer: PEER }],
  'ssh-closed': [{ kind: 'ssh-closed', sessionId: 'ssh-1', peer: PEER, durationMs: 12_345.6 }],
  'ssh-attached': [
    { kind: 'ssh-attached', sessionId: 'ssh-1.1', peer: PEER, readOnly: false },
    { kind: 'ssh-attached', sessionId: 'ssh-1.1', peer: PEER, readOnly: true },
  ],
  'ssh-detached': [
    { kind: 'ssh-detached', sessionId: 'ssh-1.1', peer: PEER, reason: 'keys', durationMs: 12_345.6 },
    { kind: 'ssh-detached', sessionId: 'ssh-1.1', peer: PEER, reason: 'gone', durationMs: 0 },
    { kind: 'ssh-detached', sessionId: 'ssh-1.1', peer: PEER, reason: 'lagged', durationMs: 1 },
    { kind: 'ssh-detached', sessionId: 'ssh-1.1', peer: PEER, reason: 'exited', durationMs: 1 },
  ],
  'ssh-forward-opened': [
    { kind: 'ssh-forward-opened', sessionId: 'ssh-1.2', peer: PEER, target: '127.0.0.1:8080' },
    { kind: 'ssh-forward-opened', sessionId: 'ssh-1.2', peer: PEER, target: '/work/app.sock' },
  ],
  'ssh-forward-closed': [
    { ...FORWARD_CLOSED, reason: 'ended' },
    { ...FORWARD_CLOSED, reason: 'reset', bytesIn: 0, bytesOut: 0 },
    { ...FORWARD_CLOSED, reason: 'closed' },
    { ...FORWARD_CLOSED, reason: 'gone' },
  ],
  'ssh-forward-refused': [
    { ...FORWARD_REFUSED, why: 'prohibited', reason: 'only loopback is reached' },
    { ...FORWARD_REFUSED, why: 'failed', reason: '127.0.0.1:9 cannot be connected to: ECONNREFUSED' },
    { ...FORWARD_REFUSED, why: 'shortage', reason: 'there are too many forwards' },
  ],
  'ssh-refused': [
    { kind: 'ssh-refused', sessionId: 'ssh-1', peer: { ...PEER, uid: 1000 }, reason: 'another user' },
  ],
  'internal-error': [
    { kind: 'internal-error', where: 'egress', message: 'cannot read properties of undefined' },
  ],
};

export const ALL_FACTS: readonly AuditFact[] = Object.values(SAMPLES).flat();

/** The fact with every text that others may choose replaced. Words of the schema's or of ours stay. */
export function poisoned(fact: AuditFact, text: string): AuditFact {
  return poison(fact, '', text) as AuditFact;
}

const OWN_WORDS = new Set([
  'kind',
  'mode',
  'action',
  'control',
  'adapter',
  'reason',
  'address',
  'localAddress',
  'remoteAddress',
  'sha256',
  'startTime',
  'connectionId',
]);

function poison(value: unknown, name: string, text: string): unknown {
  if (typeof value === 'string') return OWN_WORDS.has(name) ? value : text;
  if (Array.isArray(value)) return Array.from({ length: 64 }, () => text);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, poison(each, key, text)]));
}
