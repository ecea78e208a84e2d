import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/helm/**/*.test.ts'],
    // The renderer is compiled first.
    hookTimeout: 120_000,
    pool: 'forks',
  },
});
