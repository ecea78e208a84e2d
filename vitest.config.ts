import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [
      'test/bench/**',
      'test/clients/**',
      'test/programs/**',
      'test/vm/**',
      'test/bundle/**',
      'test/helm/**',
      'test/pod/**',
    ],
    // A real namespace, launcher or ssh client is part of most tests; the limit only stops a hang.
    testTimeout: 30_000,
    // What is waited for comes in its own time on a loaded machine.
    expect: { poll: { timeout: 10_000 } },
    hookTimeout: 30_000,
    pool: 'forks',
  },
});
