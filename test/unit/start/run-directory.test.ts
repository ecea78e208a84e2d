import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { processStartTime } from '../../../src/kernel/processes.ts';
import { cleanDeadRuns, knownRuns, type RunState } from '../../../src/start/run-directory.ts';

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'castellan-runs-'));
});
afterEach(() => rmSync(base, { recursive: true }));

function writeRun(name: string, startTime: string): void {
  const state: RunState = {
    name,
    pid: process.pid,
    startTime,
    user: '20001',
    command: ['true'],
    startedAt: '2026-01-01T00:00:00.000Z',
    auditPath: '/nonexistent',
    networkInterface: 'cs-00000000',
    ready: true,
  };
  mkdirSync(join(base, name));
  // What a role of another uid reads its program through; see role-code.ts.
  mkdirSync(join(base, `.code-${name}`));
  writeFileSync(join(base, name, 'state.json'), JSON.stringify(state));
}

it('cleans all that a dead run left, and nothing of a living one', async () => {
  writeRun('dead', '1');
  writeRun('living', (await processStartTime(process.pid)) ?? '');
  await cleanDeadRuns(base);
  expect(readdirSync(base).sort()).toEqual(['.code-living', 'living']);
  expect((await knownRuns(base)).map(({ alive }) => alive)).toEqual([true]);
});
