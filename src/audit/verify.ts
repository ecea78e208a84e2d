import { fingerprint as fingerprintOf, GENESIS } from './chain.ts';
import { recordLine } from './line.ts';

export interface ChainProblem {
  /** 1-based. */
  readonly line: number;
  readonly kind:
    | 'empty'
    | 'unreadable'
    | 'unattested'
    | 'altered'
    | 'broken-link'
    | 'gap'
    | 'out-of-order'
    | 'after-close';
  readonly detail: string;
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly records: number;
  /** Runs in the file; their records may lie between each other's. */
  readonly chains: number;
  /** Runs that have no closing record: still going, ended by force, or cut off. */
  readonly open: number;
  /** Fingerprint of the last record; compare it with one kept elsewhere. */
  readonly head: string | undefined;
  readonly problems: readonly ChainProblem[];
}

/** A log that is wrong from some line on has no use for more than this. */
const MAX_PROBLEMS = 20;
const CLOSED_TYPE_UID = 100_807;

/** What the next record of a run has to be. */
interface Expected {
  readonly sequence: number;
  readonly prev: string;
  readonly closed: boolean;
}

type Problem = Omit<ChainProblem, 'line'>;

/** Checks every record of a log against itself and the one before it. An empty log is not verified. */
export async function verifyChain(lines: AsyncIterable<string>): Promise<VerifyReport> {
  const problems: ChainProblem[] = [];
  const runs = new Map<string, Expected>();
  let records = 0;
  let head: string | undefined;
  let number = 0;
  for await (const line of lines) {
    number += 1;
    if (line === '') continue;
    records += 1;
    const record = readRecord(line);
    if ('kind' in record) problems.push({ line: number, ...record });
    else {
      const expected = runs.get(record.chain);
      problems.push(...judge(record, expected).map((problem) => ({ line: number, ...problem })));
      runs.set(record.chain, next(record, expected));
      head = record.fingerprint;
    }
    if (problems.length >= MAX_PROBLEMS) break;
  }
  if (records === 0) problems.push({ line: 0, kind: 'empty', detail: 'there is no record' });
  const open = [...runs.values()].filter(({ closed }) => !closed).length;
  return { ok: problems.length === 0, records, chains: runs.size, open, head, problems };
}

interface ChainRecord {
  readonly chain: string;
  readonly sequence: number;
  readonly prev: string;
  readonly fingerprint: string;
  readonly intact: boolean;
  readonly closes: boolean;
}

const START: Expected = { sequence: 0, prev: GENESIS, closed: false };

function judge(record: ChainRecord, { sequence, prev, closed }: Expected = START): Problem[] {
  const found: Problem[] = [];
  if (!record.intact) found.push({ kind: 'altered', detail: 'the record is not the one that was written' });
  const counted = `record ${record.sequence} where ${sequence} should be`;
  if (record.sequence > sequence) found.push({ kind: 'gap', detail: counted });
  else if (record.sequence < sequence) found.push({ kind: 'out-of-order', detail: counted });
  else if (record.prev !== prev)
    found.push({ kind: 'broken-link', detail: 'the record before it was changed' });
  if (closed) found.push({ kind: 'after-close', detail: 'the run had closed its log' });
  return found;
}

/** A record from the past changes nothing about what has to come. */
function next({ sequence, fingerprint, closes }: ChainRecord, expected: Expected = START): Expected {
  if (sequence < expected.sequence) return expected;
  return { sequence: sequence + 1, prev: fingerprint, closed: closes || expected.closed };
}

function readRecord(line: string): ChainRecord | Problem {
  let event: Readonly<Record<string, unknown>> | undefined;
  try {
    event = asObject(JSON.parse(line));
  } catch {
    return { kind: 'unreadable', detail: 'not JSON' };
  }
  const unmapped = asObject(event?.['unmapped']);
  const { chain_uid: chain, prev, fingerprint } = asObject(unmapped?.['attestation']) ?? {};
  const uid = asObject(event?.['metadata'])?.['uid'];
  const sequence = typeof uid === 'string' ? /:(\d{1,15})$/.exec(uid)?.[1] : undefined;
  if (typeof chain !== 'string' || typeof prev !== 'string' || typeof fingerprint !== 'string' || !sequence)
    return { kind: 'unattested', detail: 'no place in a chain' };
  const unsigned = { ...event, unmapped: { ...unmapped, attestation: { chain_uid: chain, prev } } };
  return {
    chain,
    sequence: Number(sequence),
    prev,
    fingerprint,
    // The text too: a key that is there twice has one value for this reader and another for the next.
    intact:
      uid === `${chain}:${sequence}` && fingerprintOf(unsigned) === fingerprint && recordLine(event) === line,
    closes: event?.['type_uid'] === CLOSED_TYPE_UID,
  };
}

function asObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}
