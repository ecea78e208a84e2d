/** What messages of the wire are made of. */
import type { Flow, IdentityResult } from '../../../src/egress/stages.ts';
import { CONTROL_VERSION, type ContainerPolicy, type Setup } from '../../../src/roles/control/message.ts';

export const FLOW: Flow = {
  family: 4,
  localAddress: '198.51.100.1',
  localPort: 40_000,
  remoteAddress: '127.0.0.1',
  remotePort: 3128,
};
export const IDENTITY = {
  pid: 7,
  startTime: '123',
  uid: 1000,
  executable: '/usr/bin/curl',
  sha256: 'a'.repeat(64),
  ancestors: ['/bin/sh'],
  ancestorHashes: ['b'.repeat(64)],
};
export const KNOWN: IdentityResult = { ok: true, identity: IDENTITY };
export const INTENT = {
  connectionId: '0f-1.2',
  adapter: 'connect',
  host: 'a.test',
  port: 443,
  flow: FLOW,
  startedAt: 1,
} as const;

export const CONTAINER_POLICY: ContainerPolicy = {
  generation: 1,
  binaries: ['/usr/bin/python3'],
  parts: {
    filesystem: { includeWorkdir: true, readOnly: ['/usr'], readWrite: ['/tmp'] },
    landlock: { compatibility: 'best_effort', bindPorts: undefined, connectPorts: [443] },
    process: { runAsUser: 'sandbox', runAsGroup: undefined },
    seccomp: { relax: ['netlink'] },
  },
};
export const SETUP: Setup = {
  proxyPort: 3128,
  policy: CONTAINER_POLICY,
  placeholders: { TOKEN: 'openshell:resolve:env:TOKEN' },
};
export const PROCESS_HELLO = {
  type: 'hello',
  role: 'process',
  version: CONTROL_VERSION,
  pid: 7,
  uid: 1500,
  pidNamespace: 'pid:[4026531836]',
  token: 'f'.repeat(64),
} as const;
