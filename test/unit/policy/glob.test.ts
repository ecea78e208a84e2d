import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Glob, HOST_GLOB, PATH_GLOB, parseGlob, TEXT_GLOB } from '../../../src/policy/match/glob.ts';

interface Vector {
  readonly dialect: 'path' | 'host' | 'text';
  readonly pattern: string;
  readonly matches?: readonly string[];
  readonly misses?: readonly string[];
  readonly problem?: string;
}

const vectors: readonly Vector[] = JSON.parse(
  readFileSync(new URL('../../vectors/glob.json', import.meta.url), 'utf8'),
);
const dialects = { path: PATH_GLOB, host: HOST_GLOB, text: TEXT_GLOB };

describe('glob vectors', () => {
  it.each(vectors)('$dialect $pattern', ({ dialect, pattern, matches = [], misses = [], problem }) => {
    const glob = parseGlob(pattern, dialects[dialect]);
    if (problem !== undefined) {
      expect(glob).toEqual({ problem });
      return;
    }
    for (const text of matches) expect(valid(glob).matches(text), `matches ${text}`).toBe(true);
    for (const text of misses) expect(valid(glob).matches(text), `misses ${text}`).toBe(false);
  });
});

describe('hostile patterns and texts', () => {
  it('takes time in proportion to the text, not to the ways of matching it', () => {
    const glob = valid(parseGlob(`/${'{*a*,*a*}'.repeat(20)}b`, PATH_GLOB));
    const text = `/${'a'.repeat(4000)}`;
    const started = performance.now();
    expect(glob.matches(text)).toBe(false);
    expect(glob.matches(`${text}b`)).toBe(true);
    // A backtracking matcher needs more than 2^20 times as long.
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('refuses a pattern of unreasonable length', () => {
    expect(parseGlob(`/${'a'.repeat(1100)}*`, PATH_GLOB)).toEqual({
      problem: 'the pattern is longer than 1024 characters',
    });
  });
});

function valid(glob: ReturnType<typeof parseGlob>): Glob {
  if ('problem' in glob) throw new Error(glob.problem);
  return glob;
}
