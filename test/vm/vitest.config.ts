import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/vm/**/*.test.ts'],
    hookTimeout: 30_000,
    pool: 'forks',
    // Guests are made in one place, and starve each other.
    fileParallelism: false,
  },
});
