import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { processStartTime } from '../../../src/kernel/processes.ts';
import { cleanDeadRuns, knownRuns, openRunBase, type RunState } from '../../../src/start/run-directory.ts';

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'castellan-runs-'));
});
afterEach(() => rmSync(base, { recursive: true }));

function writeRun(
  name: string,
  startTime: string,
  pidNamespace = readlinkSync('/proc/self/ns/pid'),
  startedAt = '2026-01-01T00:00:00.000Z',
): void {
  const state: RunState = {
    name,
    pid: process.pid,
    startTime,
    pidNamespace,
    user: '20001',
    command: ['true'],
    startedAt,
    auditPath: '/nonexistent',
    networkInterface: 'cs-00000000',
    ready: true,
  };
  mkdirSync(join(base, name));
  // What a role of another uid reads its program through; see role-code.ts.
  mkdirSync(join(base, `.code-${name}`));
  writeFileSync(join(base, name, 'state.json'), JSON.stringify(state));
}

describe('a base that an orchestrator has made, open to everybody', () => {
  const uid = process.getuid?.() ?? 0;
  beforeEach(() => chmodSync(base, 0o2777));

  it('is closed while it is empty', async () => {
    await openRunBase(base, uid);
    expect(statSync(base).mode & 0o7777).toBe(uid === 0 ? 0o711 : 0o700);
  });

  it('is refused with anything in it', async () => {
    writeFileSync(join(base, 'file'), '');
    await expect(openRunBase(base, uid)).rejects.toMatchObject({ code: 'filesystem_refused' });
  });

  it('is refused where it is somebody else’s', async () => {
    await expect(openRunBase(base, uid + 1)).rejects.toMatchObject({ code: 'filesystem_refused' });
    expect(statSync(base).mode & 0o7777).toBe(0o2777);
  });
});

it('cleans all that a dead run left, and nothing of a living one', async () => {
  writeRun('dead', '1');
  writeRun('living', (await processStartTime(process.pid)) ?? '');
  await cleanDeadRuns(base);
  expect(readdirSync(base).sort()).toEqual(['.code-living', 'living']);
  expect((await knownRuns(base)).map(({ alive }) => alive)).toEqual([true]);
});

it('tells a run of another pid namespace by its socket, because its pid means nothing here', async () => {
  const elsewhere = 'pid:[1]';
  for (const name of ['listening', 'dead', 'unfinished']) writeRun(name, '1', elsewhere);
  writeRun('beginning', '1', elsewhere, new Date().toISOString());
  const [living, dead] = [createServer(), createServer()];
  await once(living.listen(join(base, 'listening/health.sock')), 'listening');
  await once(dead.listen(join(base, 'dead/before')), 'listening');
  // The name stays when its listener has gone.
  renameSync(join(base, 'dead/before'), join(base, 'dead/health.sock'));
  await new Promise((done) => dead.close(done));
  await cleanDeadRuns(base);
  expect(readdirSync(base).filter((name) => !name.startsWith('.'))).toEqual(['beginning', 'listening']);
  await new Promise((done) => living.close(done));
});
