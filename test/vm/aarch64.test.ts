import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

/** Compilers of another architecture are slower than none. */
const COMPILE_DEADLINE_MS = 120_000;

it(
  'the native parts compile for aarch64',
  () => {
    const native = join(import.meta.dirname, '../../native');
    expect(
      execFileSync('make', ['-s', '-C', native, 'check-aarch64'], { encoding: 'utf8', stdio: 'pipe' }),
    ).toBe('');
  },
  COMPILE_DEADLINE_MS,
);
