import type { AuditFact } from '../../../src/audit/event.ts';
import type { Identity, Intent } from '../../../src/egress/stages.ts';

const identity: Identity = {
  pid: 4711,
  startTime: '123456',
  uid: 20001,
  executable: '/usr/bin/curl',
  sha256: 'a'.repeat(64),
  ancestors: ['/usr/bin/bash', '/usr/local/bin/agent'],
};
const intent: Intent = {
  connectionId: 'c-1',
  adapter: 'connect',
  host: 'api.example.org',
  port: 443,
  flow: {
    family: 4,
    localAddress: '127.0.0.1',
    localPort: 40000,
    remoteAddress: '127.0.0.1',
    remotePort: 3128,
  },
  startedAt: 1,
};
const intent6: Intent = {
  ...intent,
  adapter: 'transparent-tls',
  host: '2001:db8::1',
  flow: { family: 6, localAddress: 'fd00::2', localPort: 1, remoteAddress: '2001:db8::1', remotePort: 443 },
};
const http: Intent = { ...intent, adapter: 'forward', http: { method: 'GET', path: '/index' } };
const odd: Intent = { ...http, http: { method: 'PROPFIND', path: '/' } };
const child = {
  pid: 12,
  argv: ['/bin/sh', '-c', 'true'],
  uid: 20001,
  gid: 20001,
  user: '20001',
  kind: 'main',
  sessionId: 'main',
} as const;
const peer = { pid: 99, uid: 0, gid: 0 };
const source = { address: '198.19.255.253', port: 5353 };
/** What an agent would put into every name it can choose. */
export const HOSTILE = 'a\nb\r\u001b[31m\u202e\u2028\u0085\ud800"\\\u0000';

const of = <Kind extends AuditFact['kind']>(...facts: Extract<AuditFact, { kind: Kind }>[]) => facts;

/** At least one of every kind: a new kind does not compile until it has its samples. */
export const SAMPLES: {
  readonly [Kind in AuditFact['kind']]: readonly Extract<AuditFact, { kind: Kind }>[];
} = {
  'supervisor-started': of<'supervisor-started'>({ kind: 'supervisor-started', mode: 'root', pid: 7 }),
  'supervisor-ready': of<'supervisor-ready'>({
    kind: 'supervisor-ready',
    sshSocket: '/run/castellan/a/ssh.sock',
    durationMs: 12.7,
  }),
  'supervisor-stopped': of<'supervisor-stopped'>({
    kind: 'supervisor-stopped',
    exitCode: 0,
    reason: 'the command ended with 0',
  }),
  'supervisor-failed': of<'supervisor-failed'>({
    kind: 'supervisor-failed',
    code: 'role_lost',
    step: 'roles',
    message: HOSTILE,
  }),
  'audit-opened': of<'audit-opened'>({ kind: 'audit-opened', path: '/var/log/castellan/a.jsonl' }),
  'audit-closed': of<'audit-closed'>({
    kind: 'audit-closed',
    path: '/var/log/castellan/a.jsonl',
    records: 9,
  }),
  'policy-loaded': of<'policy-loaded'>({
    kind: 'policy-loaded',
    path: '/p.yaml',
    digest: `sha256:${'0'.repeat(64)}`,
    rules: 2,
    notices: ['line 3: x'],
  }),
  'identity-resolved': of<'identity-resolved'>({
    kind: 'identity-resolved',
    user: 'sandbox',
    uid: 1500,
    gid: 1500,
    source: 'policy',
  }),
  'path-prepared': of<'path-prepared'>(
    { kind: 'path-prepared', path: '/work', action: 'created' },
    { kind: 'path-prepared', path: `/w${HOSTILE}`, action: 'kept' },
  ),
  'path-skipped': of<'path-skipped'>({ kind: 'path-skipped', path: '/none', reason: 'does not exist' }),
  'control-applied': of<'control-applied'>({ kind: 'control-applied', control: 'landlock', detail: 'ABI 7' }),
  'control-degraded': of<'control-degraded'>({
    kind: 'control-degraded',
    control: 'landlock',
    reason: 'absent',
    remedy: 'use a newer kernel',
  }),
  'process-launched': of<'process-launched'>(
    { kind: 'process-launched', process: child },
    { kind: 'process-launched', process: { ...child, argv: [HOSTILE, 'x'.repeat(1_000_000)] } },
    { kind: 'process-launched', process: { ...child, argv: [] } },
  ),
  'process-exited': of<'process-exited'>(
    { kind: 'process-exited', process: child, exitCode: 0, signal: undefined, durationMs: 3.2 },
    { kind: 'process-exited', process: child, exitCode: 137, signal: 'SIGKILL', durationMs: 3 },
  ),
  'launch-refused': of<'launch-refused'>({
    kind: 'launch-refused',
    argv: ['nc'],
    sessionId: 'ssh-1.1',
    step: 'launch/execute',
    errno: 'ENOENT',
    object: 'nc',
  }),
  'connection-allowed': of<'connection-allowed'>(
    { kind: 'connection-allowed', intent, identity, rule: 'api', address: '203.0.113.7' },
    {
      kind: 'connection-allowed',
      intent: intent6,
      identity: { ...identity, ancestors: [] },
      rule: 'api',
      address: '2001:db8::1',
    },
  ),
  'connection-denied': of<'connection-denied'>(
    {
      kind: 'connection-denied',
      intent,
      identity,
      reason: 'host_not_listed',
      detail: 'no rule',
      rule: undefined,
    },
    {
      kind: 'connection-denied',
      intent: http,
      identity: undefined,
      reason: 'identity_unknown',
      detail: HOSTILE,
      rule: 'api',
    },
    {
      kind: 'connection-denied',
      intent: odd,
      identity: { ...identity, executable: `/tmp/${HOSTILE}` },
      reason: 'binary_not_listed',
      detail: 'x',
      rule: 'api',
    },
  ),
  'connection-failed': of<'connection-failed'>(
    { kind: 'connection-failed', intent, identity, rule: 'api', detail: 'refused' },
    { kind: 'connection-failed', intent: http, identity: undefined, rule: undefined, detail: 'x' },
  ),
  'connection-closed': of<'connection-closed'>(
    {
      kind: 'connection-closed',
      intent,
      identity,
      rule: 'api',
      address: '203.0.113.7',
      bytesOut: 5,
      bytesIn: 7,
      durationMs: 1.5,
    },
    {
      kind: 'connection-closed',
      intent: http,
      identity,
      rule: 'api',
      address: '203.0.113.7',
      bytesOut: 5,
      bytesIn: 7,
      durationMs: 1.5,
      httpStatus: 200,
    },
    {
      kind: 'connection-closed',
      intent: odd,
      identity,
      rule: 'api',
      address: '203.0.113.7',
      bytesOut: 5,
      bytesIn: 7,
      durationMs: 1.5,
    },
  ),
  'dns-answered': of<'dns-answered'>(
    { kind: 'dns-answered', name: 'api.example.org', type: 'A', address: '198.18.0.1', source },
    { kind: 'dns-answered', name: 'api.example.org', type: 'AAAA', address: undefined, source, repeats: 3 },
  ),
  'dns-refused': of<'dns-refused'>(
    { kind: 'dns-refused', name: 'evil.example', type: 'TYPE65', rcode: 5, source, repeats: 1000 },
    { kind: 'dns-refused', name: HOSTILE, type: 'A', rcode: 4, source },
  ),
  'bypass-refused': of<'bypass-refused'>(
    {
      kind: 'bypass-refused',
      protocol: 17,
      source,
      destination: { address: '8.8.8.8', port: 443 },
      uid: 20001,
    },
    {
      kind: 'bypass-refused',
      protocol: 58,
      source: { address: 'fd00::2', port: 0 },
      destination: { address: '2001:db8::1', port: 0 },
      uid: undefined,
    },
    { kind: 'bypass-refused', protocol: 250, source, destination: { address: '8.8.8.8', port: 0 }, uid: 0 },
  ),
  'ssh-listening': of<'ssh-listening'>({ kind: 'ssh-listening', path: '/run/castellan/a/ssh.sock' }),
  'ssh-opened': of<'ssh-opened'>({ kind: 'ssh-opened', sessionId: 'ssh-1', peer }),
  'ssh-closed': of<'ssh-closed'>({ kind: 'ssh-closed', sessionId: 'ssh-1', peer, durationMs: 10 }),
  'ssh-refused': of<'ssh-refused'>({
    kind: 'ssh-refused',
    sessionId: 'ssh-1',
    peer: { ...peer, uid: 5 },
    reason: HOSTILE,
  }),
  'internal-error': of<'internal-error'>({ kind: 'internal-error', where: 'egress', message: HOSTILE }),
};
