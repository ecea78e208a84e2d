/** Rules where programs are not told apart: everybody has what somebody had, and nobody more. */
import { describe, expect, test } from 'vitest';
import { decide } from '../../../src/egress/decide/decide.ts';
import { createProcessQuota } from '../../../src/egress/identify/quota.ts';
import { ANY_PROGRAM, forAnyProgram, pinningRules } from '../../../src/policy/any-program.ts';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import { type IDENTITY, INTENT } from '../roles/wire-parts.ts';

const { network } = parsePolicy(
  `version: 1
network_policies:
  pinned:
    endpoints: [{ host: a.test, port: 443 }]
    binaries: [{ path: /usr/bin/curl, sha256: "${'b'.repeat(64)}" }, { path: "/opt/*" }]
  nobody:
    endpoints: [{ host: b.test, port: 443 }]
    binaries: []
`,
  'policy.yaml',
);

const asked = (
  host: string,
  identity: typeof IDENTITY | typeof ANY_PROGRAM,
  rules = forAnyProgram(network),
) =>
  decide(compilePolicy(rules), { intent: { ...INTENT, host }, objection: undefined }, { ok: true, identity });

describe('a decision without a program', () => {
  test('is by the destination', () => {
    expect(asked('a.test', ANY_PROGRAM)).toMatchObject({
      ok: true,
      grant: { identity: ANY_PROGRAM, verdict: { rule: 'pinned' } },
    });
    expect(asked('c.test', ANY_PROGRAM)).toMatchObject({ ok: false, verdict: { reason: 'host_not_listed' } });
  });

  test('grants nothing by a rule that names no program', () => {
    expect(asked('b.test', ANY_PROGRAM)).toMatchObject({ ok: false, identity: ANY_PROGRAM });
  });

  test('grants nothing by rules that were not made for it', () => {
    expect(asked('a.test', ANY_PROGRAM, network)).toMatchObject({
      ok: false,
      verdict: { reason: 'binary_not_listed' },
    });
  });
});

test('rules with pins are named', () => {
  expect(pinningRules(network)).toEqual(['pinned']);
});

test('programs that are not told apart have no share each', () => {
  const quota = createProcessQuota(1, 2);
  const places = [quota.take(ANY_PROGRAM), quota.take(ANY_PROGRAM), quota.take(ANY_PROGRAM)];
  expect(places.map((place) => place !== undefined)).toEqual([true, true, false]);
});
