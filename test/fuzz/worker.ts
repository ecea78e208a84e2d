/** Fuzzes targets one after the other, in a thread that main.ts can end. */
import { parentPort, workerData } from 'node:worker_threads';
import { Coverage } from './coverage.ts';
import { fuzz } from './engine.ts';
import { TARGETS } from './targets.ts';

export interface Job {
  readonly target: string;
  readonly seed: number;
  readonly maxMs: number;
}

export interface Shared {
  /** [inputs tried so far, length of the present one]. */
  readonly progress: Int32Array;
  /** The present input. */
  readonly input: Uint8Array;
}

export interface Report {
  readonly inputs: number;
  readonly corpus: number;
  readonly failure: { readonly input: Uint8Array; readonly message: string } | undefined;
}

const { progress, input: present } = workerData as Shared;

parentPort?.on('message', async ({ target: name, seed, maxMs }: Job) => {
  const target = TARGETS.find((each) => each.name === name);
  if (target === undefined) throw new RangeError(`no target ${name}`);
  using coverage = new Coverage();
  const { inputs, corpus, failure } = await fuzz(target, {
    seed,
    maxMs,
    coverage,
    onInput: (input) => {
      present.set(input);
      Atomics.store(progress, 1, input.length);
      Atomics.add(progress, 0, 1);
    },
  });
  const report: Report = {
    inputs,
    corpus,
    failure: failure && { input: failure.input, message: failure.error.stack ?? failure.error.message },
  };
  parentPort?.postMessage(report);
});
