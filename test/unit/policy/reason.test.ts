import { describe, expect, it } from 'vitest';
import { denialBody } from '../../../src/policy/reason.ts';
import type { DenyReason } from '../../../src/policy/verdict.ts';

const REASONS: readonly DenyReason[] = [
  'no_policy',
  'host_not_listed',
  'port_not_listed',
  'binary_not_listed',
  'binary_hash_differs',
  'identity_unknown',
  'address_not_allowed',
  'name_mismatch',
  'destination_unknown',
];
const query = { host: 'a.example', port: 8443, binaries: ['/usr/bin/curl', '/bin/sh'] };

describe('denialBody', () => {
  it('says what was asked, why not, and which rule is missing', () => {
    const verdict = { allow: false, reason: 'port_not_listed', detail: 'not on 8443', nearest: 'r' } as const;
    expect(JSON.parse(JSON.stringify(denialBody(verdict, query)))).toEqual({
      error: 'policy_denied',
      reason: 'port_not_listed',
      detail: 'not on 8443',
      host: 'a.example',
      port: 8443,
      binary: '/usr/bin/curl',
      nearest_rule: 'r',
      rule_missing: { type: 'l4_allow', host: 'a.example', port: 8443, binary: '/usr/bin/curl' },
      next_steps: [
        { action: 'ask_operator', detail: expect.stringContaining('rule_missing') },
        { action: 'give_up', detail: expect.any(String) },
      ],
    });
  });

  it('has null where nothing is known', () => {
    const verdict = { allow: false, reason: 'no_policy', detail: '', nearest: undefined } as const;
    const body = denialBody(verdict, { ...query, binaries: [] });
    expect(body).toMatchObject({ binary: null, nearest_rule: null, rule_missing: { binary: null } });
  });

  it.each(REASONS)('%s comes with a next step, and a missing rule only where one would help', (reason) => {
    const body = denialBody({ allow: false, reason, detail: '', nearest: undefined }, query);
    expect(body.next_steps.length).toBeGreaterThan(0);
    const ruleHelps = ['no_policy', 'host_not_listed', 'port_not_listed', 'binary_not_listed'].includes(
      reason,
    );
    expect(body.rule_missing !== null).toBe(ruleHelps);
  });
});
