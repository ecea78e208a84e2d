/**
 * `npm run fuzz [-- --target NAME] [--seconds N] [--seed N] [--replay FILE]`: every target for its share of the time. What fails is
 * written, minimised, below build/fuzz.
 */
import { createHash, randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { tryInput } from './engine.ts';
import { fuzzNative, NATIVE_TARGETS, replayNative } from './native.ts';
import { TARGETS } from './targets.ts';
import type { Report, Shared } from './worker.ts';

const ROOT = join(import.meta.dirname, '../..');
const CRASHES = join(ROOT, 'build/fuzz');
const DEFAULT_SECONDS = 60;
/** No input is larger, see `maxBytes` of the targets. */
const MAX_INPUT_BYTES = 1024 * 1024;
/** Far above any allowance of time, for a machine that does other work. */
const HANG_MS = 20_000;
const WATCH_MS = 500;
/** A parser that needs more for one input has no bound. */
const MEMORY_MB = 512;

function save(target: string, input: Uint8Array): string {
  const directory = join(CRASHES, target);
  mkdirSync(directory, { recursive: true });
  const file = join(directory, createHash('sha256').update(input).digest('hex').slice(0, 12));
  writeFileSync(file, input);
  return relative(ROOT, file);
}

class Fuzzer {
  #worker: Worker | undefined;
  readonly #shared: Shared = {
    progress: new Int32Array(new SharedArrayBuffer(8)),
    input: new Uint8Array(new SharedArrayBuffer(MAX_INPUT_BYTES)),
  };

  /** Runs one target; a hang, and memory without end, are failures with the input that was tried last. */
  async run(target: string, seed: number, maxMs: number): Promise<Report> {
    this.#worker ??= new Worker(join(import.meta.dirname, 'worker.ts'), {
      workerData: this.#shared,
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB },
    });
    const worker = this.#worker;
    const { promise, resolve } = Promise.withResolvers<Report>();
    const lost = (message: string): void => {
      this.#worker = undefined;
      void worker.terminate();
      resolve({ inputs: 0, corpus: 0, failure: { input: this.#present(), message } });
    };
    let seen = -1;
    let since = performance.now();
    const watch = setInterval(() => {
      const tried = Atomics.load(this.#shared.progress, 0);
      if (tried !== seen) since = performance.now();
      seen = tried;
      if (performance.now() - since > maxMs + HANG_MS) lost(`no end after ${HANG_MS} ms`);
    }, WATCH_MS);
    const onError = (error: Error): void => lost(error.stack ?? error.message);
    worker.once('message', resolve);
    worker.once('error', onError);
    worker.postMessage({ target, seed, maxMs });
    const report = await promise;
    clearInterval(watch);
    worker.off('message', resolve).off('error', onError);
    return report;
  }

  close(): void {
    void this.#worker?.terminate();
  }

  #present(): Uint8Array {
    return Uint8Array.from(this.#shared.input.subarray(0, this.#shared.progress[1]));
  }
}

function tell(target: string, seed: number, { inputs, corpus, failure }: Report): boolean {
  const name = target.padEnd(22);
  if (failure === undefined) {
    console.log(`${name} ${String(inputs).padStart(8)} inputs, corpus ${corpus}`);
    return true;
  }
  const file = save(target, failure.input);
  console.log(`${name} FAILED with seed ${seed}: ${failure.message}`);
  console.log(`  ${failure.input.length} bytes in ${file}`);
  console.log(`  again: npm run fuzz -- --target ${target} --replay ${file}`);
  return false;
}

async function replay(name: string, file: string): Promise<boolean> {
  const target = TARGETS.find((each) => each.name === name);
  if (target === undefined) return replayNative(name, [file]);
  await tryInput(target, readFileSync(file));
  return true;
}

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
    replay: { type: 'string' },
  },
});
const names = [...TARGETS.map(({ name }) => name), ...NATIVE_TARGETS];
const chosen = values.target === undefined ? names : names.filter((name) => name === values.target);
const seconds = Number(values.seconds ?? DEFAULT_SECONDS);
const seed = Number(values.seed ?? randomInt(2 ** 31));
if (chosen.length === 0) throw new RangeError(`--target is one of: ${names.join(', ')}`);
if (!(seconds > 0) || !Number.isSafeInteger(seed))
  throw new RangeError('--seconds takes a number above 0, and --seed a whole number');

if (values.replay !== undefined) {
  if (values.target === undefined) throw new RangeError('--replay needs --target');
  const passed = await replay(values.target, values.replay);
  console.log(passed ? 'every property holds' : 'FAILED');
  process.exitCode = passed ? 0 : 1;
} else {
  console.log(`seed ${seed}, ${seconds} s for ${chosen.length} targets`);
  const weightOf = (name: string) => TARGETS.find((target) => target.name === name)?.weight ?? 1;
  const share = (seconds * 1000) / chosen.reduce((sum, name) => sum + weightOf(name), 0);
  const fuzzer = new Fuzzer();
  let failed = 0;
  for (const name of chosen) {
    const report = NATIVE_TARGETS.includes(name)
      ? await fuzzNative(name, seed, share)
      : await fuzzer.run(name, seed, share * weightOf(name));
    if (!tell(name, seed, report)) failed += 1;
  }
  fuzzer.close();
  console.log(`${chosen.length - failed} targets passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}
