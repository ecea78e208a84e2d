import { beforeAll, describe, expect, it } from 'vitest';
import { createChain } from '../../../src/audit/chain.ts';
import type { AuditFact } from '../../../src/audit/event.ts';
import type { OcsfEvent } from '../../../src/audit/ocsf/base.ts';
import type { LogFact } from '../../../src/audit/ocsf/event-log-activity.ts';
import { toOcsf } from '../../../src/audit/ocsf/to-ocsf.ts';
import { ALL_FACTS, CONTEXT, IDENTITY, INTENT, poisoned, request, SAMPLES } from './facts.ts';
import { loadValidator } from './schema.ts';

const TIME = 1_795_460_536_928;
const MAX_LINE_BYTES = 16 * 1024;
let faultsOf: Awaited<ReturnType<typeof loadValidator>>;

beforeAll(async () => {
  faultsOf = await loadValidator();
});

type Attributes = Readonly<Record<string, unknown>>;

function eventsOf(fact: AuditFact | LogFact): OcsfEvent[] {
  let sequence = 5;
  return toOcsf(fact, () => ({ time: TIME, sequence: sequence++ }), CONTEXT);
}

function only(fact: AuditFact): Attributes {
  const [event, ...others] = eventsOf(fact);
  expect(others).toEqual([]);
  return event as OcsfEvent;
}

const asRecorded = (event: OcsfEvent) => createChain(CONTEXT.bootId).append(event);

describe('every fact becomes events that are valid', () => {
  const dropped = { kind: 'audit-dropped', count: 3, reason: 'the disk did not keep up' } as const;
  it.each([...ALL_FACTS, dropped].map((fact, index) => [`${fact.kind} ${index}`, fact] as const))(
    '%s',
    (_, fact) => {
      const events = eventsOf(fact);
      expect(events.length).toBeGreaterThan(0);
      for (const event of events) expect(faultsOf(asRecorded(event))).toEqual([]);
    },
  );
});

const HOSTILE_TEXTS: readonly (readonly [string, string])[] = [
  ['empty', ''],
  ['lone surrogates', '\ud800x\udc00'],
  ['control characters', '\u0000\n\r\u001b[31m\u0085\u202e'],
  ['very long', 'x'.repeat(16_000)],
  ['very long and costly', '\u0001'.repeat(16_000)],
  ['very long, a character of two units cut in the middle', '\u{1f4a9}'.repeat(8000)],
  ['no address', 'localhost'],
  ['schema words', 'Other'],
];

describe.each(HOSTILE_TEXTS)('whatever others chose, the event stays valid and short: %s', (_, text) => {
  it.each(Object.entries(SAMPLES))('%s', (_kind, facts) => {
    for (const fact of facts) {
      for (const event of eventsOf(poisoned(fact, text))) {
        const recorded = asRecorded(event);
        // A method named as the schema's own word for "none of these" can only be told as it is.
        expect(faultsOf(recorded).filter((fault) => !fault.includes('suspicious_other'))).toEqual([]);
        expect(Buffer.byteLength(JSON.stringify(recorded))).toBeLessThanOrEqual(MAX_LINE_BYTES);
      }
    }
  });
});

describe('what is cut is marked', () => {
  it('in the metadata', () => {
    const fact: AuditFact = {
      kind: 'supervisor-failed',
      code: 'internal',
      step: 'start',
      message: 'm'.repeat(50_000),
    };
    expect(only(fact)).toHaveProperty('metadata.is_truncated', true);
    expect(only(fact)).toHaveProperty(
      'metadata.untruncated_size',
      expect.toSatisfy((size: number) => size > 50_000),
    );
  });

  it('and nothing else is', () => {
    for (const fact of ALL_FACTS)
      for (const event of eventsOf(fact)) expect(event.metadata['is_truncated']).toBeUndefined();
  });
});

describe('numbers outside the schema’s types', () => {
  it.each<AuditFact>([
    {
      kind: 'connection-denied',
      intent: INTENT,
      identity: { ...IDENTITY, pid: 2 ** 40 },
      reason: 'no_policy',
      detail: '',
      rule: undefined,
    },
    {
      kind: 'connection-closed',
      intent: INTENT,
      identity: IDENTITY,
      rule: 'r',
      address: '203.0.113.6',
      bytesIn: Number.MAX_SAFE_INTEGER,
      bytesOut: Number.MAX_SAFE_INTEGER,
      durationMs: 1e300,
    },
    {
      kind: 'connection-allowed',
      intent: { ...INTENT, host: 'fe80::1%eth0' },
      identity: IDENTITY,
      rule: 'r',
      address: 'fe80::1%a-very-long-interface-name-that-no-kernel-has',
    },
    {
      kind: 'dns-refused',
      name: 'a.example',
      type: 'A',
      rcode: 5,
      source: { address: '10.0.0.1', port: 1 },
      repeats: 2 ** 40,
    },
    {
      kind: 'ssh-closed',
      sessionId: 's',
      peer: { pid: 2 ** 33, uid: 2 ** 32 - 2, gid: 0 },
      durationMs: 2 ** 60,
    },
  ])('$kind', (fact) => {
    for (const event of eventsOf(fact)) expect(faultsOf(event)).toEqual([]);
  });
});

describe('which class and activity', () => {
  const [FORWARD_CLOSED] = SAMPLES['ssh-forward-closed'];
  const [FORWARD_REFUSED] = SAMPLES['ssh-forward-refused'];
  it.each<[string, AuditFact, number, string, string | undefined]>([
    ['a start', SAMPLES['supervisor-started'][0], 600203, 'Informational', undefined],
    ['ready', SAMPLES['supervisor-ready'][0], 600299, 'Informational', undefined],
    ['an end', SAMPLES['supervisor-stopped'][0], 600204, 'Informational', undefined],
    ['a refused start', SAMPLES['supervisor-failed'][0], 600204, 'High', undefined],
    ['the log opened', SAMPLES['audit-opened'][0], 100806, 'Informational', undefined],
    ['the log closed', SAMPLES['audit-closed'][0], 100807, 'Informational', undefined],
    ['a launch', SAMPLES['process-launched'][0], 100701, 'Informational', 'Allowed'],
    ['an exit', SAMPLES['process-exited'][0], 100702, 'Informational', undefined],
    ['a refused launch', SAMPLES['launch-refused'][0], 100701, 'Medium', 'Denied'],
    ['a created path', SAMPLES['path-prepared'][0], 100101, 'Informational', undefined],
    ['a policy', SAMPLES['policy-loaded'][0], 501901, 'Informational', undefined],
    ['a rejected policy', SAMPLES['policy-rejected'][0], 501901, 'High', undefined],
    ['a control', SAMPLES['control-applied'][0], 501901, 'Informational', undefined],
    ['an allowed connection', SAMPLES['connection-allowed'][0], 400101, 'Informational', 'Allowed'],
    ['a denied connection', SAMPLES['connection-denied'][0], 400105, 'Medium', 'Denied'],
    ['a failed connection', SAMPLES['connection-failed'][0], 400104, 'Low', undefined],
    ['a closed connection', SAMPLES['connection-closed'][0], 400102, 'Informational', undefined],
    [
      'a denied GET',
      { ...(SAMPLES['connection-denied'][0] as object), intent: request('GET') } as AuditFact,
      400203,
      'Medium',
      'Denied',
    ],
    [
      'a denied PROPFIND',
      { ...(SAMPLES['connection-denied'][0] as object), intent: request('PROPFIND') } as AuditFact,
      400299,
      'Medium',
      'Denied',
    ],
    ['an answered GET', SAMPLES['connection-closed'][1] as AuditFact, 400203, 'Informational', 'Allowed'],
    [
      'a request that was never answered',
      SAMPLES['connection-closed'][2] as AuditFact,
      400102,
      'Informational',
      undefined,
    ],
    ['a DNS answer', SAMPLES['dns-answered'][0], 400302, 'Informational', 'Allowed'],
    ['a DNS refusal', SAMPLES['dns-refused'][5] as AuditFact, 400302, 'Medium', 'Denied'],
    ['SSH listening', SAMPLES['ssh-listening'][0], 400707, 'Informational', undefined],
    ['SSH opened', SAMPLES['ssh-opened'][0], 400701, 'Informational', 'Allowed'],
    ['SSH closed', SAMPLES['ssh-closed'][0], 400702, 'Informational', undefined],
    ['SSH attached', SAMPLES['ssh-attached'][0], 400701, 'Informational', 'Allowed'],
    ['SSH detached', SAMPLES['ssh-detached'][0], 400702, 'Informational', undefined],
    ['SSH refused', SAMPLES['ssh-refused'][0], 400705, 'Medium', 'Denied'],
    ['forward opened', SAMPLES['ssh-forward-opened'][0], 400701, 'Informational', 'Allowed'],
    ['forward ended', { ...FORWARD_CLOSED, reason: 'ended' }, 400702, 'Informational', undefined],
    ['forward reset', { ...FORWARD_CLOSED, reason: 'reset' }, 400703, 'Informational', undefined],
    ['forward prohibited', { ...FORWARD_REFUSED, why: 'prohibited' }, 400705, 'Medium', 'Denied'],
    ['forward failed', { ...FORWARD_REFUSED, why: 'failed' }, 400704, 'Informational', undefined],
    ['a fault of ours', SAMPLES['internal-error'][0], 600801, 'High', undefined],
  ])('%s', (_, fact, typeUid, severity, action) => {
    expect(only(fact)).toMatchObject({ type_uid: typeUid, severity });
    expect(only(fact)['action']).toBe(action);
  });
});

describe('what an auditor asks', () => {
  it('who: the program, its hash, its ancestors, its user', () => {
    expect(only(SAMPLES['connection-denied'][0])['actor']).toMatchObject({
      process: {
        pid: 58,
        path: '/usr/bin/curl',
        file: { hashes: [{ algorithm: 'SHA-256', value: 'a'.repeat(64) }] },
        ancestry: [{ path: '/usr/bin/bash' }, { path: '/usr/local/bin/agent' }],
      },
      user: { uid: '20001' },
    });
  });

  it('where to: name and address, searchable', () => {
    const event = only(SAMPLES['connection-allowed'][0]);
    expect(event['dst_endpoint']).toMatchObject({ hostname: 'api.example.org', ip: '203.0.113.6' });
    expect(event['observables']).toEqual([
      { name: 'dst_endpoint.hostname', type_id: 1, type: 'Hostname', value: 'api.example.org' },
      { name: 'dst_endpoint.ip', type_id: 2, type: 'IP Address', value: '203.0.113.6' },
    ]);
  });

  it('by which way: the proxy for those who use it, and no other', () => {
    expect(only(SAMPLES['connection-allowed'][0])['proxy_endpoint']).toMatchObject({
      ip: '127.0.0.1',
      port: 3128,
    });
    expect(only(SAMPLES['connection-allowed'][1] as AuditFact)['proxy_endpoint']).toBeUndefined();
  });

  it('name the operator’s proxy beside castellan’s own, and TLS', () => {
    const event = only(SAMPLES['connection-allowed'][3] as AuditFact);
    expect(event).toMatchObject({
      proxy_endpoint: { port: 3128, svc_name: 'egress-proxy' },
      dst_endpoint: { hostname: 'api.example.org', proxy_endpoint: { svc_name: 'upstream-proxy' } },
      tls: { version: 'TLSv1.3', sni: 'api.example.org', certificate: { serial_number: '0A' } },
      unmapped: { tls_resumed: true },
    });
  });

  it('by which right: the rule; a rule that only came near is not called one', () => {
    expect(only(SAMPLES['connection-allowed'][0])['firewall_rule']).toMatchObject({ name: 'items' });
    const denied = only(SAMPLES['connection-denied'][1] as AuditFact);
    expect(denied['firewall_rule']).toBeUndefined();
    expect(denied).toMatchObject({ status_code: 'identity_unknown', unmapped: { nearest_rule: 'near' } });
  });

  it('how much and how long', () => {
    const event = only(SAMPLES['connection-closed'][0]);
    expect(event['traffic']).toEqual({ bytes_in: 5120, bytes_out: 800, bytes: 5920 });
    expect(event).toMatchObject({ duration: 900, end_time: TIME, start_time: TIME - 900 });
  });

  it('what belongs together', () => {
    expect(only(SAMPLES['connection-closed'][0])).toHaveProperty(
      'metadata.correlation_uid',
      INTENT.connectionId,
    );
    expect(only(SAMPLES['process-exited'][0])).toHaveProperty('metadata.correlation_uid', 'main');
  });

  it('and is not told what it must not know: queries', () => {
    const fact = {
      ...SAMPLES['connection-closed'][1],
      intent: request('GET', '/x?key=hush#hush'),
    } as AuditFact;
    expect(JSON.stringify(eventsOf(fact))).not.toContain('hush');
  });
});

describe('alarms go with the event that tells what happened', () => {
  const misplaced = SAMPLES['connection-denied'].at(-1) as AuditFact;
  it.each([SAMPLES['bypass-refused'][0], SAMPLES['control-degraded'][0], misplaced])('$kind', (fact) => {
    const [cause, alarm] = eventsOf(fact);
    expect(alarm).toMatchObject({ type_uid: 200401, is_alert: true, status: 'New' });
    const related = { uid: `${CONTEXT.bootId}:5`, type_uid: cause?.type_uid };
    expect(alarm).toMatchObject({ finding_info: { related_events: [related] } });
    expect(cause?.metadata.uid).toBe(`${CONTEXT.bootId}:5`);
    expect(alarm?.metadata.uid).toBe(`${CONTEXT.bootId}:6`);
  });
});
