import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Coverage } from './coverage.ts';
import { fuzz, tryInput } from './engine.ts';
import { NATIVE_TARGETS, replayNativeSeeds } from './native.ts';
import type { Target } from './target.ts';
import { TARGETS } from './targets.ts';

const VECTORS = join(import.meta.dirname, '../vectors/fuzz');
const SEED = 20_261_125;
/** Enough to see that a target still runs and can still tell; finding is what `npm run fuzz` is for. */
const INPUTS = 60;
const MAX_MS = 100;

/** Inputs that once failed: none may again. */
function vectorsOf(name: string): string[] {
  const directory = join(VECTORS, name);
  return existsSync(directory) ? readdirSync(directory).map((file) => join(directory, file)) : [];
}

describe('every target holds', () => {
  it.each(TARGETS.map((target) => [target.name, target] as const))('%s', async (name, target) => {
    for (const file of vectorsOf(name)) await tryInput(target, readFileSync(file));
    const { failure } = await fuzz(target, { seed: SEED, maxMs: MAX_MS, maxInputs: INPUTS });
    if (failure !== undefined) throw failure.error;
  });

  it.each(NATIVE_TARGETS)('%s, under sanitizers', (name) => {
    expect(replayNativeSeeds(name, vectorsOf(name))).toBe(true);
  });

  it('vectors belong to targets', () => {
    const names = [...TARGETS.map(({ name }) => name), ...NATIVE_TARGETS];
    expect(names).toEqual(expect.arrayContaining(readdirSync(VECTORS)));
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('the engine', () => {
  const failing = (check: (text: string) => void, more: Partial<Target> = {}): Target => ({
    name: 't',
    seeds: ['hello'],
    words: ['evil'],
    check: (input) => check(Buffer.from(input).toString('latin1')),
    ...more,
  });
  const options = { seed: 1, maxMs: 5000, maxInputs: 20_000 };

  it('finds a failure, and makes it small', async () => {
    const target = failing((text) => {
      if (text.includes('evil')) throw new RangeError('found');
    });
    const { failure } = await fuzz(target, options);
    expect(Buffer.from(failure?.input ?? []).toString()).toBe('evil');
    expect(await fuzz(target, options)).toEqual(await fuzz(target, options));
  });

  it('finds quadratic work', async () => {
    const target = failing(
      (text) => {
        let sum = 0;
        for (const a of text) for (const b of text) sum += a === b ? 1 : 0;
        if (sum < 0) throw new Error('never');
      },
      { maxBytes: 5 * 1024 },
    );
    const { failure } = await fuzz(target, options);
    expect(failure?.error.name).toBe('TooSlow');
  });

  describe('with coverage', () => {
    const coverage = new Coverage();
    afterAll(() => coverage[Symbol.dispose]());

    it('keeps the inputs that reach what no other has', async () => {
      const target = TARGETS.find(({ name }) => name === 'authority');
      if (target === undefined) throw new Error('no such target');
      const result = await fuzz(
        { ...target, seeds: ['a'] },
        { seed: 1, maxMs: 10_000, maxInputs: 2000, coverage },
      );
      expect(result.failure).toBeUndefined();
      expect(result.corpus).toBeGreaterThan(2);
    });
  });
});
