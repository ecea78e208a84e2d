import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/bundle/**/*.test.ts'],
    testTimeout: 60_000,
    // What is waited for comes in its own time on a loaded machine.
    expect: { poll: { timeout: 10_000 } },
    hookTimeout: 60_000,
    pool: 'forks',
  },
});
