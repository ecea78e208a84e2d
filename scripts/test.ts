/** Everything `npm test` checks: types, lint, and the tests; ends with the one line that counts them. */
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

const args = process.argv.slice(2);
const typed = run('typecheck', 'typescript/bin/tsc', ['--noEmit']);
const linted = run('lint', '@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']);
rmSync(report, { force: true });
const tested = run('tests', 'vitest/vitest.mjs', [
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...args,
]);

const counts: VitestReport | undefined = existsSync(report)
  ? JSON.parse(readFileSync(report, 'utf8'))
  : undefined;
const checksFailed = [typed, linted].filter((ok) => !ok).length;
const skipped = counts?.numPendingTests ?? 0;
// Skipping is right for a developer who is not root; where root is available nothing may be left out.
const skippedForNoReason = skipped > 0 && process.getuid?.() === 0 && args.length === 0;
if (skippedForNoReason) console.error(`${skipped} tests were skipped although everything they need is here`);
const failed = (counts?.numFailedTests ?? 1) + checksFailed + (skippedForNoReason ? skipped : 0);
if (!tested || !counts?.success || failed > 0) process.exitCode = 1;
const passed = (counts?.numPassedTests ?? 0) + 2 - checksFailed;
console.log(`${passed} passed, ${process.exitCode === 1 ? Math.max(failed, 1) : failed} failed`);
