import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/pod/**/*.test.ts'],
    testTimeout: 90_000,
    // What is waited for comes in its own time on a loaded machine.
    expect: { poll: { timeout: 10_000 } },
    hookTimeout: 90_000,
    pool: 'forks',
    // Each file has an engine and a world; more at a time only wait for each other.
    maxWorkers: 2,
  },
});
