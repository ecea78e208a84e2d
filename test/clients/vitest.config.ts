import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/clients/**/*.test.ts'],
    // A browser, a Java compiler or an npm install on a machine with other work; the servers' data is made in the hook.
    testTimeout: 120_000,
    // What is waited for comes in its own time on a loaded machine.
    expect: { poll: { timeout: 10_000 } },
    hookTimeout: 120_000,
    pool: 'forks',
    // Each file has a world of its own; the clients wait more than they work.
    maxWorkers: 2,
  },
});
