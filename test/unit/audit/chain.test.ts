import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openAudit } from '../../../src/audit/audit.ts';
import { canonicalJson } from '../../../src/audit/canonical.ts';
import { verifyChain } from '../../../src/audit/verify.ts';
import type { CastellanError } from '../../../src/errors.ts';
import { ALL_FACTS } from './facts.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-audit-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const context = (bootId: string) => ({
  bootId,
  version: '0',
  hostname: 'h',
  kernelRelease: 'k',
  osName: 'o',
  sandboxId: 's',
  supervisorPid: 1,
});

async function writeLog(
  path: string,
  bootId = 'boot-1',
  onFailure: (error: CastellanError) => void = () => {},
) {
  await using audit = await openAudit({
    path,
    context: context(bootId),
    terminal: undefined,
    colour: false,
    onFailure,
  });
  for (const fact of ALL_FACTS) if (!fact.kind.startsWith('audit-')) audit.report(fact);
  return audit;
}

const linesOf = (path: string) => readFileSync(path, 'utf8').trimEnd().split('\n');
async function* each(lines: readonly string[]) {
  yield* lines;
}
const verify = (lines: readonly string[]) => verifyChain(each(lines));

describe('canonicalJson', () => {
  it.each([
    [{ b: 1, a: [true, null, 'x'] }, '{"a":[true,null,"x"],"b":1}'],
    [{ a: undefined, b: { d: 1, c: 2 } }, '{"b":{"c":2,"d":1}}'],
    [{ é: 1, e: 2, '\u{1f600}': 3, '\ufb33': 4 }, '{"e":2,"é":1,"\u{1f600}":3,"\ufb33":4}'],
    [1e21, '1e+21'],
  ])('%j', (value, expected) => expect(canonicalJson(value)).toBe(expected));
});

describe('the hash chain', () => {
  it('verifies as written, several runs in one file too', async () => {
    const path = join(directory, 'log', 'audit.jsonl');
    await writeLog(path, 'boot-1');
    await writeLog(path, 'boot-2');
    expect(await verify(linesOf(path))).toMatchObject({ ok: true, chains: 2, open: 0, problems: [] });
  });

  const TAMPERED: readonly [string, (lines: string[]) => string[], string][] = [
    [
      'a changed value',
      (lines) => lines.with(5, (lines[5] ?? '').replace(/"severity_id":\d/, '"severity_id":5')),
      'altered',
    ],
    ['a removed record', (lines) => lines.toSpliced(5, 1), 'gap'],
    ['a doubled record', (lines) => lines.toSpliced(5, 0, lines[5] ?? ''), 'out-of-order'],
    ['two swapped records', (lines) => lines.with(5, lines[6] ?? '').with(6, lines[5] ?? ''), 'gap'],
    ['a cut beginning', (lines) => lines.slice(3), 'gap'],
    ['a garbage line', (lines) => lines.toSpliced(5, 0, 'x'), 'unreadable'],
    ['a record without attestation', (lines) => lines.with(5, '{"a":1}'), 'unattested'],
    ['a torn last line', (lines) => lines.with(-1, (lines.at(-1) ?? '').slice(0, 50)), 'unreadable'],
    ['nothing', () => [], 'empty'],
  ];
  it.each(TAMPERED)('shows %s', async (_, tamper, kind) => {
    const path = join(directory, 'audit.jsonl');
    await writeLog(path);
    const verdict = await verify(tamper(linesOf(path)));
    expect(verdict.ok).toBe(false);
    expect(verdict.problems.map((problem) => problem.kind)).toContain(kind);
  });

  it('counts a run without a closing record as open', async () => {
    const path = join(directory, 'audit.jsonl');
    await writeLog(path);
    expect(await verify(linesOf(path).slice(0, -1))).toMatchObject({ ok: true, open: 1 });
  });
});

describe('the log file', () => {
  it('is its owner’s alone, begins with its opening and ends with its closing', async () => {
    const path = join(directory, 'log', 'audit.jsonl');
    const audit = await writeLog(path);
    audit.report({ kind: 'internal-error', where: 'late', message: 'after the end' });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, 'log')).mode & 0o777).toBe(0o700);
    const events = linesOf(path).map((line) => JSON.parse(line));
    expect(events[0].type_uid).toBe(100806);
    expect(events.at(-1).type_uid).toBe(100807);
    expect(events.at(-1).unmapped.records).toBe(events.length);
    expect(events.map(({ metadata }) => metadata.sequence)).toEqual(events.map((_, index) => index));
  });

  it.each([
    ['a symbolic link', (path: string) => symlinkSync('/dev/null', path)],
    ['a device', () => {}, '/dev/null'],
    ['a file that others may read', (path: string) => writeFileSync(path, '', { mode: 0o644 })],
  ])('refuses %s', async (_, make, fixed?: string) => {
    const path = fixed ?? join(directory, 'audit.jsonl');
    make(path);
    await expect(writeLog(path)).rejects.toMatchObject({ code: 'audit_failed' });
  });

  it('goes on when nobody reads the terminal', async () => {
    const terminal = new PassThrough();
    terminal.destroy();
    const path = join(directory, 'audit.jsonl');
    {
      await using audit = await openAudit({
        path,
        context: context('b'),
        terminal,
        colour: true,
        onFailure: () => {},
      });
      for (let i = 0; i < 5000; i++) audit.report({ kind: 'internal-error', where: String(i), message: 'x' });
    }
    const wheres = linesOf(path)
      .map((line) => JSON.parse(line).unmapped.where)
      .filter((where) => where !== undefined);
    expect(wheres).toEqual(Array.from({ length: 5000 }, (_, i) => String(i)));
  });
});
