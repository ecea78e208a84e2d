/** Runs a target: seeds and mutants through its check, until one fails or the time is over. */
import { seededRandom } from '../unit/random.ts';
import type { Coverage } from './coverage.ts';
import { mutant } from './mutate.ts';
import type { Target } from './target.ts';

export interface Failure {
  readonly target: string;
  readonly input: Uint8Array;
  readonly error: Error;
}

export interface FuzzOptions {
  readonly seed: number;
  /** Whichever is over first ends the run. */
  readonly maxMs: number;
  readonly maxInputs?: number;
  /** Without it mutants of the seeds only; the run is then the same for the same seed. */
  readonly coverage?: Coverage;
  /** Told of each input before it is tried: the last is the culprit of a hang. */
  readonly onInput?: (input: Uint8Array) => void;
}

export interface FuzzResult {
  readonly inputs: number;
  readonly corpus: number;
  readonly failure: Failure | undefined;
}

const DEFAULT_MAX_BYTES = 4096;
const DEFAULT_MICROSECONDS_PER_BYTE = 2;
/** Of CPU time, for any input: a collection of garbage or a compilation may fall into it. */
const FIXED_ALLOWANCE_MS = 60;
/** Whoever takes too long has as many more tries, of which the best counts. */
const RETRIES = 3;
const BATCH = 256;
/** What reaches nothing new any more is still worth something, so the corpus stays small only against floods. */
const MAX_CORPUS = 2000;
const MINIMISE_MS = 5000;

class TooSlow extends Error {
  override readonly name = 'TooSlow';
}

/** @throws what the check throws, or TooSlow where its CPU time grows faster than the input */
export async function tryInput(target: Target, input: Uint8Array): Promise<void> {
  const allowedMs = allowanceMs(target, input.length);
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt <= RETRIES && best > allowedMs; attempt++) {
    const before = process.threadCpuUsage();
    await target.check(input);
    const { user, system } = process.threadCpuUsage(before);
    best = Math.min(best, (user + system) / 1000);
  }
  if (best > allowedMs)
    throw new TooSlow(
      `${input.length} bytes took ${Math.round(best)} ms, of ${Math.round(allowedMs)} allowed`,
    );
}

function allowanceMs(
  { microsecondsPerByte = DEFAULT_MICROSECONDS_PER_BYTE }: Target,
  length: number,
): number {
  return FIXED_ALLOWANCE_MS + (length * microsecondsPerByte) / 1000;
}

/** Fuzzes one target. */
export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzResult> {
  const { seed, maxMs, maxInputs = Number.POSITIVE_INFINITY, coverage, onInput } = options;
  const random = seededRandom(seed);
  const deadline = performance.now() + maxMs;
  const source = {
    corpus: target.seeds.map((each) => Buffer.from(each)) as Uint8Array[],
    words: (target.words ?? []).map((word) => Buffer.from(word)),
    maxBytes: target.maxBytes ?? DEFAULT_MAX_BYTES,
  };
  let inputs = 0;
  let pending: readonly Uint8Array[] = [...source.corpus];
  coverage?.takeNew(false);
  for (;;) {
    for (const input of pending) {
      onInput?.(input);
      inputs += 1;
      const error = await problemOf(target, input);
      if (error !== undefined)
        return { inputs, corpus: source.corpus.length, failure: await minimised(target, input, error) };
      if (inputs >= maxInputs || performance.now() > deadline)
        return { inputs, corpus: source.corpus.length, failure: undefined };
    }
    if (coverage !== undefined && source.corpus.length < MAX_CORPUS)
      source.corpus.push(...(await finders(target, pending, coverage)));
    pending = Array.from({ length: BATCH }, () => mutant(source, random));
  }
}

async function problemOf(target: Target, input: Uint8Array): Promise<Error | undefined> {
  try {
    await tryInput(target, input);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Those of a batch that ran what had never run. Asks about what has just been tried, so call it right after. */
async function finders(
  target: Target,
  batch: readonly Uint8Array[],
  coverage: Coverage,
): Promise<Uint8Array[]> {
  if (!coverage.takeNew(batch.length === 1)) return [];
  if (batch.length <= 1) return [...batch];
  const found: Uint8Array[] = [];
  const middle = batch.length >> 1;
  for (const half of [batch.slice(0, middle), batch.slice(middle)]) {
    for (const input of half) await target.check(input);
    found.push(...(await finders(target, half, coverage)));
  }
  return found;
}

/** The smallest input found that fails in the same way. */
async function minimised(target: Target, input: Uint8Array, error: Error): Promise<Failure> {
  let best = { input, error };
  // What is too slow is so because it is long.
  if (error instanceof TooSlow) return { target: target.name, input, error };
  const deadline = performance.now() + MINIMISE_MS;
  for (let span = input.length; span >= 1; span = Math.floor(span / 2)) {
    for (let at = 0; at < best.input.length && performance.now() < deadline; ) {
      const candidate = Buffer.concat([best.input.subarray(0, at), best.input.subarray(at + span)]);
      const problem = await problemOf(target, candidate);
      if (problem?.name === error.name) best = { input: candidate, error: problem };
      else at += span;
    }
  }
  return { target: target.name, ...best };
}
