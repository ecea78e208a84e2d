import { describe, expect, it } from 'vitest';
import { COUNTERS, type CounterName, countsOf } from '../../../src/audit/counters.ts';
import { toOcsf } from '../../../src/audit/ocsf/to-ocsf.ts';
import { createTally } from '../../../src/audit/tally.ts';
import { MODEL_PROTOCOLS } from '../../../src/egress/local/model-shapes.ts';
import { DENY_REASONS } from '../../../src/policy/verdict.ts';
import { MODEL_CALL } from './fact-parts.ts';
import { CONTEXT, INTENT, SAMPLES } from './facts.ts';

const SAMPLE_LIST = Object.values(SAMPLES).flat();
const DETECTION_FINDING = 2004;

describe.each(SAMPLE_LIST.map((fact, index) => [`${fact.kind} ${index}`, fact] as const))('%s', (_, fact) => {
  it('counts by names and values that are written down', () => {
    for (const { name, labels, amount } of countsOf(fact)) {
      const known: Readonly<Record<string, readonly string[]>> = COUNTERS[name].labels;
      expect(Object.keys(labels)).toEqual(Object.keys(known));
      for (const [label, value] of Object.entries(labels)) expect(known[label]).toContain(value);
      expect(amount).toBeGreaterThanOrEqual(0);
    }
  });

  it('counts a finding where the log has one', () => {
    const findings = toOcsf(fact, () => ({ time: 1, sequence: 1 }), CONTEXT).filter(
      ({ class_uid }) => class_uid === DETECTION_FINDING,
    );
    expect(countsOf(fact).filter(({ name }) => name === 'findings')).toHaveLength(findings.length);
  });
});

it('a fact moves nothing that is of another kind', () => {
  const silent = Object.values(SAMPLES).filter(([fact]) => fact !== undefined && countsOf(fact).length === 0);
  expect(silent.map(([fact]) => fact?.kind).sort()).toEqual([
    'audit-closed',
    'audit-opened',
    'control-applied',
    'denials-counted',
    'identity-resolved',
    'path-prepared',
    'path-skipped',
    'ssh-listening',
    'supervisor-failed',
    'supervisor-ready',
    'supervisor-started',
    'supervisor-stopped',
    'workspace-mapped',
    'workspace-owned',
  ]);
});

describe('sums', () => {
  const sumOf = (name: CounterName, labels: object, ...facts: Parameters<typeof countsOf>[0][]) => {
    const tally = createTally();
    for (const fact of facts) tally.count(fact);
    const found = tally
      .sums(name)
      .filter((sum) => Object.entries(labels).every(([k, v]) => sum.labels[k] === v));
    return found.reduce((total, { value }) => total + value, 0);
  };

  it('begin with zero for every combination of labels', () => {
    const tally = createTally();
    expect(tally.sums('denials')).toEqual(DENY_REASONS.map((reason) => ({ labels: { reason }, value: 0 })));
    expect(tally.sums('egress_bytes')).toHaveLength(4);
    expect(tally.sums('internal_errors')).toEqual([{ labels: {}, value: 0 }]);
  });

  it('of all samples: at most some hundred series, whatever was said', () => {
    const names = Object.keys(COUNTERS) as CounterName[];
    const series = () => {
      const tally = createTally();
      for (const fact of SAMPLE_LIST) tally.count(fact);
      return names.flatMap((name) => tally.sums(name));
    };
    expect(series().length).toBe(names.flatMap((name) => createTally().sums(name)).length);
    expect(series().length).toBeLessThan(200);
  });

  it('count repeats of DNS queries, and codes that nobody knows as others', () => {
    const source = { address: '198.18.0.1', port: 5353 };
    const query = { kind: 'dns-refused', name: 'a.test', type: 'A', source } as const;
    expect(sumOf('dns_queries', { rcode: 'NXDOMAIN' }, { ...query, rcode: 3, repeats: 41 })).toBe(42);
    expect(sumOf('dns_queries', { rcode: 'other' }, { ...query, rcode: 14 })).toBe(1);
  });

  it('tell requests from connections', () => {
    const [allowed] = SAMPLES['connection-allowed'];
    const { http: _, ...tunnel } = INTENT;
    const request = { ...INTENT, http: { method: 'GET', path: '/', scheme: 'http' } } as const;
    const both = [tunnel, request, request].map((intent) => ({ ...allowed, intent }));
    expect(sumOf('connections', { decision: 'allowed' }, ...both)).toBe(1);
    expect(sumOf('requests', { decision: 'allowed' }, ...both)).toBe(2);
  });

  it('take no word of a role that was taken over', () => {
    const call = {
      kind: 'model-called',
      ...MODEL_CALL,
      operation: 'evil\n{}',
      provider: 'x',
      inputTokens: 7,
    } as const;
    expect(sumOf('model_calls', { protocol: 'other' }, call)).toBe(1);
    expect(sumOf('model_tokens', { direction: 'input' }, call)).toBe(7);
    const known: readonly string[] = COUNTERS.model_calls.labels.protocol;
    expect(known).toEqual([...MODEL_PROTOCOLS, 'other']);
  });

  it.each([
    [204, '2xx'],
    [503, '5xx'],
    [799, 'other'],
    [0, 'other'],
  ])('count status %i as %s', (httpStatus, name) => {
    const [closed] = SAMPLES['connection-closed'];
    expect(sumOf('http_responses', { class: name }, { ...closed, httpStatus })).toBe(1);
  });
});
