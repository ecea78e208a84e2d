import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import type { Decider } from '../../../src/policy/compile.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import { watchExpiry } from '../../../src/start/expiry.ts';

const START = Date.UTC(2026, 11, 1);
const rules = (...ends: readonly (string | undefined)[]) =>
  parsePolicy(
    `version: 1\nnetwork_policies:\n${ends
      .map(
        (end, index) =>
          `  r${index}: {endpoints: [{host: h${index}.example, port: 1}], binaries: [{path: /x}]${end === undefined ? '' : `, expires: ${end}`}}\n`,
      )
      .join('')}`,
    'p',
  ).network;

beforeEach(() => void vi.useFakeTimers({ now: START }));
afterEach(() => void vi.useRealTimers());

function watched() {
  const facts: AuditFact[] = [];
  let inForce: Decider | undefined;
  const expiry = watchExpiry(
    (decider) => {
      inForce = decider;
      return 2;
    },
    (fact) => facts.push(fact),
  );
  const allows = (host: string) => inForce?.decide({ host, port: 1, binaries: ['/x'] }).allow;
  return { expiry, facts, allows, inForce: () => inForce };
}

describe('rules that end', () => {
  it('end at their time, one after the other, and it is told', () => {
    const { expiry, facts, allows, inForce } = watched();
    const first = expiry.follow(rules('2026-12-01T00:00:05Z', '2026-12-01T00:10:00Z', undefined));
    expect(first.decide({ host: 'h0.example', port: 1, binaries: ['/x'] })).toMatchObject({ allow: true });
    vi.advanceTimersByTime(4999);
    expect(inForce()).toBeUndefined();
    vi.advanceTimersByTime(1);
    expect(['h0', 'h1', 'h2'].map((host) => allows(`${host}.example`))).toEqual([false, true, true]);
    vi.advanceTimersByTime(595_000);
    expect(['h0', 'h1', 'h2'].map((host) => allows(`${host}.example`))).toEqual([false, false, true]);
    expect(facts).toEqual([
      { kind: 'rules-expired', rules: ['r0'], closed: 2 },
      { kind: 'rules-expired', rules: ['r1'], closed: 2 },
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('end although the clock was set', () => {
    const { expiry, allows } = watched();
    expiry.follow(rules('2026-12-01T12:00:00Z'));
    vi.setSystemTime(START + 13 * 3_600_000);
    vi.advanceTimersByTime(30_000);
    expect(allows('h0.example')).toBe(false);
  });

  it('that have ended before are over at once, and are no news', () => {
    const { expiry, facts } = watched();
    const decider = expiry.follow(rules('2026-11-30T23:59:59Z'));
    expect(decider.decide({ host: 'h0.example', port: 1, binaries: ['/x'] })).toMatchObject({
      reason: 'rule_expired',
    });
    expect([facts, vi.getTimerCount()]).toEqual([[], 0]);
  });

  it('a policy that comes later has ends of its own', () => {
    const { expiry, facts, inForce } = watched();
    expiry.follow(rules('2026-12-01T00:00:05Z'));
    expiry.follow(rules(undefined));
    vi.advanceTimersByTime(60_000);
    expect([facts, inForce()]).toEqual([[], undefined]);
    expiry.follow(rules('2026-12-01T00:02:00Z'));
    expiry[Symbol.dispose]();
    vi.advanceTimersByTime(600_000);
    expect(inForce()).toBeUndefined();
  });
});
