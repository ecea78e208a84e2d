/**
 * Everything `npm test` checks: types, lint, and the tests. `--suite NAME` runs the slow tests of that folder instead. Ends with
 * the one line that counts.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const report = join(root, 'build', 'test-report.json');

function run(name: string, script: string, args: readonly string[]): boolean {
  const result = spawnSync(process.execPath, [join(root, 'node_modules', script), ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (result.status !== 0) console.error(`${name} failed`);
  return result.status === 0;
}

interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly success: boolean;
}

const given = process.argv.slice(2);
const suite = given[0] === '--suite' ? given[1] : undefined;
const args = suite === undefined ? given : given.slice(2);
const config =
  suite === undefined ? [] : ['--config', join(root, 'test', suite, 'vitest.config.ts'), '--root', root];
const checks =
  suite === undefined
    ? [
        run('typecheck', 'typescript/bin/tsc', ['--noEmit']),
        run('lint', '@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']),
      ]
    : [];
rmSync(report, { force: true });
const tested = run('tests', 'vitest/vitest.mjs', [
  'run',
  ...config,
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...args,
]);

const counts: VitestReport | undefined = existsSync(report)
  ? JSON.parse(readFileSync(report, 'utf8'))
  : undefined;
const checksFailed = checks.filter((ok) => !ok).length;
const skipped = counts?.numPendingTests ?? 0;
// Skipping is right for a developer who is not root; where root is available nothing may be left out.
const skippedForNoReason = skipped > 0 && process.getuid?.() === 0 && args.length === 0;
if (skippedForNoReason) console.error(`${skipped} tests were skipped although everything they need is here`);
const failed = (counts?.numFailedTests ?? 1) + checksFailed + (skippedForNoReason ? skipped : 0);
if (!tested || !counts?.success || failed > 0) process.exitCode = 1;
const passed = (counts?.numPassedTests ?? 0) + checks.length - checksFailed;
console.log(`${passed} passed, ${process.exitCode === 1 ? Math.max(failed, 1) : failed} failed`);
