/** What the sample facts are made of. */
import type { LaunchedProcess } from '../../../src/audit/event.ts';
import type { AuditContext } from '../../../src/audit/ocsf/base.ts';
import type { Identity, Intent, RequestLine } from '../../../src/egress/stages.ts';

export const CONTEXT: AuditContext = {
  bootId: '0b7f1c5e-6b2d-4c8a-9f31-2d5b8e0a1c74',
  version: '0.1.0',
  hostname: 'host-1',
  kernelRelease: '6.18.0',
  osName: 'Debian GNU/Linux 12 (bookworm)',
  sandboxId: 'run-1',
  supervisorPid: 7,
};

export const IDENTITY: Identity = {
  pid: 58,
  startTime: '123456',
  uid: 20001,
  executable: '/usr/bin/curl',
  sha256: 'a'.repeat(64),
  ancestors: ['/usr/bin/bash', '/usr/local/bin/agent'],
  ancestorHashes: ['b'.repeat(64), ''],
};

export const INTENT: Intent = {
  connectionId: '0b7f1c5e-1',
  adapter: 'connect',
  host: 'api.example.org',
  port: 443,
  flow: {
    family: 4,
    localAddress: '127.0.0.1',
    localPort: 48201,
    remoteAddress: '127.0.0.1',
    remotePort: 3128,
  },
  startedAt: 1_795_460_536_928,
};

/** A request; `method` and `path` as the adapter read them. */
export function request(method: string, path = '/v1/items'): Intent & { readonly http: RequestLine } {
  return { ...INTENT, adapter: 'forward', port: 80, http: { method, path, scheme: 'http' } };
}

export const TRANSPARENT_6: Intent = {
  ...INTENT,
  adapter: 'transparent-tls',
  host: '2001:db8::5',
  flow: {
    family: 6,
    localAddress: 'fd00::2',
    localPort: 40000,
    remoteAddress: '2001:db8::5',
    remotePort: 443,
  },
};

export const PROCESS: LaunchedProcess = {
  pid: 49,
  argv: ['/bin/sh', '-c', 'echo "it works"'],
  uid: 20001,
  gid: 20001,
  user: 'sandbox',
  kind: 'main',
  sessionId: 'main',
};

export const CLOSED = {
  rule: 'items',
  address: '203.0.113.6',
  bytesOut: 800,
  bytesIn: 5120,
  durationMs: 900.4,
} as const;
export const MODEL_CALL = {
  ...{ intent: request('POST', '/v1/messages'), identity: IDENTITY, rule: 'models', route: 'main' },
  ...{
    provider: 'anthropic',
    model: 'm-1',
    operation: 'anthropic_messages',
    streamed: true,
    durationMs: 12.5,
  },
} as const;
export const PROPOSAL = {
  kind: 'policy-proposal',
  ...{ intent: request('POST'), identity: IDENTITY, id: CONTEXT.bootId, ruleName: 'issues' },
  ...{ summary: 'file a bug', yaml: 'network_policies: {}\n', grants: ['connect a'], notes: ['audit'] },
} as const;
export const OWNERSHIP = {
  seen: 200_001,
  changed: 200_000,
  mounts: 0,
  readOnlyMounts: 0,
  readOnly: 0,
  linked: 0,
  devices: 0,
  moved: 0,
};
export const SOURCE = { address: '198.18.255.2', port: 40001 };
export const PEER = { pid: 90, uid: 0, gid: 0 };
export const FORWARD_CLOSED = {
  kind: 'ssh-forward-closed',
  ...{ sessionId: 'ssh-1.2', peer: PEER, target: '[::1]:8080' },
  ...{ bytesIn: 7, bytesOut: 2 ** 40, durationMs: 12_345.6 },
} as const;
export const FORWARD_REFUSED = {
  kind: 'ssh-forward-refused',
  ...{ sessionId: 'ssh-1.2', peer: PEER, target: '10.0.0.1:443' },
} as const;
export const METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'PATCH',
  'CONNECT',
  'PROPFIND',
  'M-SEARCH',
];
