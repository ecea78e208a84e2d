import { fingerprint as fingerprintOf, GENESIS } from './chain.ts';

export interface ChainProblem {
  /** 1-based. */
  readonly line: number;
  readonly kind: 'unreadable' | 'unattested' | 'altered' | 'broken-link' | 'gap' | 'foreign';
  readonly detail: string;
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly records: number;
  /** Runs whose first record is in the file; a file may hold several, one after another. */
  readonly chains: number;
  /** Runs that have no closing record: still going, or ended by force. */
  readonly open: number;
  /** Fingerprint of the last record; compare it with one kept elsewhere. */
  readonly head: string | undefined;
  readonly problems: readonly ChainProblem[];
}

/** A log that is wrong from some line on has no use for more than this. */
const MAX_PROBLEMS = 20;
const CLOSED_TYPE_UID = 100807;

interface Expected {
  readonly chain: string;
  readonly prev: string;
  readonly sequence: number;
}

/** Checks every record of a log against itself and the one before it. An empty log is not verified. */
export async function verifyChain(lines: AsyncIterable<string>): Promise<VerifyReport> {
  const problems: ChainProblem[] = [];
  let expected: Expected | undefined;
  let records = 0;
  let chains = 0;
  let closed = 0;
  let number = 0;
  for await (const line of lines) {
    number += 1;
    if (line === '') continue;
    records += 1;
    const record = readRecord(line);
    if (typeof record === 'string') {
      problems.push({
        line: number,
        kind: record === 'no attestation' ? 'unattested' : 'unreadable',
        detail: record,
      });
      expected = undefined;
    } else {
      if (record.prev === GENESIS) chains += 1;
      if (record.typeUid === CLOSED_TYPE_UID) closed += 1;
      problems.push(...judge(record, expected).map((problem) => ({ line: number, ...problem })));
      expected = { chain: record.chain, prev: record.fingerprint, sequence: record.sequence + 1 };
    }
    if (problems.length >= MAX_PROBLEMS) break;
  }
  if (records === 0) problems.push({ line: 0, kind: 'unreadable', detail: 'the log is empty' });
  return {
    ok: problems.length === 0,
    records,
    chains,
    open: chains - closed,
    head: expected?.prev,
    problems,
  };
}

interface ChainRecord {
  readonly chain: string;
  readonly prev: string;
  readonly fingerprint: string;
  readonly computed: string;
  readonly sequence: number;
  readonly typeUid: number;
}

function judge(record: ChainRecord, expected: Expected | undefined): Omit<ChainProblem, 'line'>[] {
  const found: Omit<ChainProblem, 'line'>[] = [];
  if (record.computed !== record.fingerprint)
    found.push({ kind: 'altered', detail: 'the record is not the one that was written' });
  if (record.prev === GENESIS)
    return record.sequence === 0
      ? found
      : [...found, { kind: 'gap', detail: `starts at record ${record.sequence}` }];
  if (expected === undefined)
    return [...found, { kind: 'broken-link', detail: 'the record before it is missing' }];
  if (record.chain !== expected.chain)
    found.push({ kind: 'foreign', detail: 'belongs to another run whose start is missing' });
  else if (record.sequence !== expected.sequence)
    found.push({ kind: 'gap', detail: `record ${record.sequence} where ${expected.sequence} should be` });
  else if (record.prev !== expected.prev)
    found.push({ kind: 'broken-link', detail: 'the record before it was changed' });
  return found;
}

function readRecord(line: string): ChainRecord | string {
  let event: Record<string, unknown>;
  try {
    event = JSON.parse(line);
  } catch {
    return 'not JSON';
  }
  const unmapped = asObject(asObject(event)?.['unmapped']);
  const attestation = asObject(unmapped?.['attestation']);
  const { chain_uid: chain, prev, fingerprint } = attestation ?? {};
  const sequence = asObject(event['metadata'])?.['sequence'];
  if (
    typeof chain !== 'string' ||
    typeof prev !== 'string' ||
    typeof fingerprint !== 'string' ||
    typeof sequence !== 'number'
  )
    return 'no attestation';
  const unsigned = { ...event, unmapped: { ...unmapped, attestation: { chain_uid: chain, prev } } };
  const computed = fingerprintOf(unsigned);
  return { chain, prev, fingerprint, computed, sequence, typeUid: Number(event['type_uid']) };
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
