import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../../src/audit/canonical.ts';
import { type Chain, createChain, fingerprint } from '../../../src/audit/chain.ts';
import type { AuditFact } from '../../../src/audit/event.ts';
import { recordLine } from '../../../src/audit/line.ts';
import { toOcsf } from '../../../src/audit/ocsf/to-ocsf.ts';
import { verifyChain } from '../../../src/audit/verify.ts';
import { CONTEXT, SAMPLES } from './facts.ts';

const FACTS: readonly AuditFact[] = [
  SAMPLES['audit-opened'][0],
  SAMPLES['supervisor-started'][0],
  SAMPLES['connection-denied'][0],
  SAMPLES['bypass-refused'][0],
  SAMPLES['internal-error'][0],
  SAMPLES['audit-closed'][0],
];

function runOf(bootId: string, facts: readonly AuditFact[] = FACTS): { lines: string[]; chain: Chain } {
  const chain = createChain(bootId);
  let sequence = 0;
  const stamp = () => ({ time: 1_795_460_536_928, sequence: sequence++ });
  const events = facts.flatMap((fact) => toOcsf(fact, stamp, { ...CONTEXT, bootId }));
  return { chain, lines: events.map((event) => recordLine(chain.append(event))) };
}

async function* from(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

const problemsOf = async (lines: readonly string[]) =>
  (await verifyChain(from(lines))).problems.map(({ line, kind }) => `${line} ${kind}`);

/** The record made again by somebody who changed a part of it and knows how fingerprints are made. */
function forged(line: string, part: Readonly<Record<string, unknown>>): string {
  const event = { ...JSON.parse(line), ...part };
  const { chain_uid, prev } = event.unmapped.attestation;
  const signed = (attestation: object) => ({ ...event, unmapped: { ...event.unmapped, attestation } });
  return recordLine(signed({ chain_uid, prev, fingerprint: fingerprint(signed({ chain_uid, prev })) }));
}

describe('canonicalJson', () => {
  it.each([
    [{ b: 1, a: { d: [1, 'x', null], c: undefined } }, '{"a":{"d":[1,"x",null]},"b":1}'],
    [
      { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\u{1f600}': 5 },
      '{"\\r":2,"1":4,"€":1,"\u{1f600}":5,"\ufb33":3}',
    ],
    [[1e21, -0, 0.1, 1e-7], '[1e+21,0,0.1,1e-7]'],
    ['\u2028"\\\u0007', '"\u2028\\"\\\\\\u0007"'],
  ])('%#: as RFC 8785', (value, text) => expect(canonicalJson(value)).toBe(text));
});

describe('recordLine', () => {
  it('holds nothing that ends a line or speaks to a terminal, and reads back as it was', () => {
    const value = { name: 'a\u0085b\u2028c\u009bd\u202ee\u001bf\ng', plain: 'ünïcode 日本' };
    expect(recordLine(value)).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
    expect(recordLine(value)).toContain('ünïcode 日本');
    expect(JSON.parse(recordLine(value))).toEqual(value);
  });
});

describe('verifyChain', () => {
  const { lines, chain } = runOf('run-a');
  const at = (index: number) => lines[index] as string;

  it('accepts what was written', async () => {
    expect(await verifyChain(from(lines))).toEqual({
      ok: true,
      records: 7,
      chains: 1,
      open: 0,
      head: chain.head,
      problems: [],
    });
  });

  it('starts from nothing', () => {
    expect(JSON.parse(at(0)).unmapped.attestation).toMatchObject({
      chain_uid: 'run-a',
      prev: '0'.repeat(64),
    });
  });

  it.each<[string, readonly string[], readonly string[]]>([
    ['nothing', [], ['0 empty']],
    ['only blank lines', ['', ''], ['0 empty']],
    ['a changed word', lines.with(2, at(2).replace('Denied', 'Denies')), ['3 altered']],
    ['a removed record', lines.toSpliced(3, 1), ['4 gap']],
    ['a missing start', lines.slice(2), ['1 gap']],
    ['a repeated record', lines.toSpliced(3, 0, at(2)), ['4 out-of-order']],
    ['exchanged records', lines.with(2, at(3)).with(3, at(2)), ['3 gap', '4 out-of-order']],
    ['a record that is made again', lines.with(2, forged(at(2), { message: 'allowed' })), ['4 broken-link']],
    [
      'a key that is there twice',
      lines.with(2, at(2).replace('{"time"', '{"message":"all well","time"')),
      ['3 altered'],
    ],
    ['white space', lines.with(2, at(2).replace(':', ': ')), ['3 altered']],
    ['half a record', lines.with(6, at(6).slice(0, 200)), ['7 unreadable']],
    ['no record', lines.toSpliced(2, 0, '{"message":"hello"}'), ['3 unattested']],
    ['no object', lines.toSpliced(2, 0, '7'), ['3 unattested']],
    [
      'records after the end',
      [...lines, forged(at(6), { metadata: { uid: 'run-a:7' } })],
      ['8 broken-link', '8 after-close'],
    ],
    ['a record of a run that never began', [...lines, runOf('run-b').lines[3] as string], ['8 gap']],
    [
      'a uid of another run',
      lines.with(2, forged(at(2), { metadata: { uid: 'run-b:2' } })),
      ['3 altered', '4 broken-link'],
    ],
  ])('finds %s', async (_, changed, found) => expect(await problemsOf(changed)).toEqual(found));

  it('tells a run that did not close its log', async () => {
    expect(await verifyChain(from(lines.slice(0, 4)))).toMatchObject({
      ok: true,
      records: 4,
      chains: 1,
      open: 1,
    });
  });

  it('follows several runs, one after another or at the same time', async () => {
    const other = runOf('run-b').lines;
    const woven = lines.flatMap((line, index) => [line, other[index] as string]);
    for (const both of [[...lines, ...other], woven])
      expect(await verifyChain(from(both))).toMatchObject({ ok: true, records: 14, chains: 2, open: 0 });
  });

  it('stops after twenty problems', async () => {
    const junk = Array.from({ length: 1000 }, () => 'junk');
    expect(await verifyChain(from(junk))).toMatchObject({ ok: false, records: 20 });
  });
});
