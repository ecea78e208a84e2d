import { expect, test } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import { createRedactor } from '../../../src/credential/redact.ts';
import { cleanReport } from '../../../src/egress/report.ts';
import { parseToProcessRole } from '../../../src/roles/parse.ts';

const flow = {
  family: 4,
  localAddress: '10.0.0.2',
  localPort: 1,
  remoteAddress: '10.0.0.1',
  remotePort: 2,
} as const;

test('what stands for a secret makes no name longer than the record takes', () => {
  const host = Array.from({ length: 31 }, () => 'a-token').join('.');
  const facts: AuditFact[] = [];
  const report = cleanReport((fact) => facts.push(fact), createRedactor(['a-token']));
  const intent = { connectionId: 'a', adapter: 'connect', host, port: 1, flow, startedAt: 1 } as const;
  report({ kind: 'connection-failed', intent, identity: undefined, rule: undefined, detail: host });
  const source = { address: '10.0.0.2', port: 1 };
  report({ kind: 'dns-refused', name: host, type: 'A', rcode: 3, source });
  expect(facts).toHaveLength(2);
  for (const fact of facts) {
    expect(JSON.stringify(fact)).not.toContain('a-token');
    expect(() => parseToProcessRole(JSON.parse(JSON.stringify({ type: 'fact', fact })))).not.toThrow();
  }
});
