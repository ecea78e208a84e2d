import { expect, test } from 'vitest';
import { asksFrom } from '../../../src/audit/asks.ts';
import type { AuditFact } from '../../../src/audit/event.ts';
import { recordLine } from '../../../src/audit/line.ts';
import { toOcsf } from '../../../src/audit/ocsf/to-ocsf.ts';
import { CONTEXT, SAMPLES } from './facts.ts';

const lines = (facts: readonly AuditFact[]) =>
  facts.flatMap((fact, sequence) =>
    toOcsf(fact, () => ({ time: 1_795_460_536_928, sequence }), CONTEXT).map(recordLine),
  );
async function* from(items: readonly string[]) {
  yield* items;
}
const [pending, approved, superseded] = SAMPLES['policy-proposal'];
const [counted] = SAMPLES['denials-counted'];
if (approved === undefined || superseded === undefined) throw new Error('no samples');

test('what waits is told, what is decided is not', async () => {
  const other = { ...pending, id: pending.id.replace(/^0/, '1'), summary: 'other' };
  expect(await asksFrom(from(lines([pending, other, approved])))).toMatchObject({
    proposals: [
      {
        id: other.id,
        rule: 'issues',
        binary: '/usr/bin/curl',
        summary: 'other',
        yaml: 'network_policies: {}\n',
        grants: ['connect a'],
        notes: ['audit'],
      },
    ],
  });
  expect(await asksFrom(from(lines([pending, superseded])))).toEqual({ proposals: [], denials: [] });
});

test('sums of refusals are added up', async () => {
  const [denial] = counted.denials;
  if (denial === undefined) throw new Error('no sample');
  const more = { ...counted, denials: [{ ...denial, count: 3, requests: ['GET /b'] }] };
  expect((await asksFrom(from(lines([counted, more])))).denials).toEqual([
    {
      host: 'a.example',
      port: 443,
      binary: '/usr/bin/curl',
      reason: 'host_not_listed',
      count: 10,
      requests: ['GET /a/*', 'GET /b'],
    },
  ]);
});

test('a rule that the log could not hold is not told in part', async () => {
  const long = { ...pending, yaml: 'x'.repeat(5000) };
  expect((await asksFrom(from(lines([long])))).proposals).toMatchObject([{ id: pending.id, yaml: '' }]);
});

test('lines that are none are passed over', async () => {
  const broken = [
    '',
    '{',
    '"policy_proposal"',
    '{"unmapped":{"setting":"policy_proposal"}}',
    '{"class_uid":4001,"unmapped":{"denials":[null,1,{}]}}',
    '{"class_uid":4001,"unmapped":{"denials":{}}}',
  ];
  expect(await asksFrom(from(broken))).toEqual({ proposals: [], denials: [] });
});
