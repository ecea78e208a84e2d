import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/programs/**/*.test.ts'],
    hookTimeout: 30_000,
    pool: 'forks',
  },
});
