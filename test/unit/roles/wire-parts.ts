/** What messages of the wire are made of. */
import type { Flow, IdentityResult } from '../../../src/egress/stages.ts';

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
