/** The log on a real file system: who may open it, in which order it is written, and what is left when something fails. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  createReadStream,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Audit, type AuditOptions, openAudit } from '../../src/audit/audit.ts';
import type { AuditFact } from '../../src/audit/event.ts';
import { openLog, startWriter } from '../../src/audit/sink/jsonl-file.ts';
import { createTerminalSink } from '../../src/audit/sink/terminal.ts';
import { type VerifyReport, verifyChain } from '../../src/audit/verify.ts';
import { CastellanError } from '../../src/errors.ts';
import { ROOT } from '../architecture/sources.ts';
import { ALL_FACTS, CONTEXT, SAMPLES } from '../unit/audit/facts.ts';
import { loadValidator } from '../unit/audit/schema.ts';

const isRoot = process.geteuid?.() === 0;
let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-audit-'));
  path = join(directory, 'log/audit.jsonl');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const neverFails = (error: CastellanError) => expect.unreachable(error.message);

function start(options: Partial<AuditOptions> = {}): Promise<Audit> {
  return openAudit({
    path,
    context: CONTEXT,
    terminal: undefined,
    colour: false,
    onFailure: neverFails,
    ...options,
  });
}

const records = (): Readonly<Record<string, unknown>>[] =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
const verify = (): Promise<VerifyReport> => verifyChain(createInterface({ input: createReadStream(path) }));

class Collector extends Writable {
  text = '';
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

describe('a whole run', () => {
  it('is a log that is valid, verified, and closed with its count', async () => {
    const audit = await start();
    for (const fact of ALL_FACTS) if (!fact.kind.startsWith('audit-')) audit.report(fact);
    await audit.flush();
    const { records: count } = audit.counts;
    await audit[Symbol.asyncDispose]();
    expect(await verify()).toMatchObject({
      ok: true,
      records: count + 1,
      chains: 1,
      open: 0,
      head: audit.head,
    });
    const events = records();
    expect(events.at(0)).toMatchObject({ type_uid: 100806, metadata: { uid: `${CONTEXT.bootId}:0` } });
    expect(events.at(-1)).toMatchObject({ type_uid: 100807, count: count + 1 });
    for (const [index, event] of events.entries()) expect(event).toHaveProperty('metadata.sequence', index);
    const faultsOf = await loadValidator();
    for (const event of events) expect(faultsOf(event)).toEqual([]);
  });

  it('tells later events what earlier facts said', async () => {
    await using audit = await start();
    audit.report(SAMPLES['connection-denied'][0]);
    audit.report(SAMPLES['policy-loaded'][0]);
    audit.report(SAMPLES['identity-resolved'][0]);
    audit.report(SAMPLES['connection-denied'][0]);
    await audit.flush();
    const [, before, , , after] = records();
    expect(before?.['policy']).toBeUndefined();
    expect(after?.['policy']).toEqual({
      name: '/etc/castellan/policy.yaml',
      uid: 'sha256:0cc0',
      is_applied: true,
    });
    expect(after).toMatchObject({ actor: { user: { uid: '20001', name: 'sandbox' } } });
  });

  it('survives names made to break it: one record stays one line', async () => {
    await using audit = await start();
    for (const message of ['a\nb', 'a\u2028b', 'a\u0085b', '\ud800', '{"time":1}\r\n{"time":2}'])
      audit.report({ kind: 'internal-error', where: 'test', message });
    await audit.flush();
    expect(await verify()).toMatchObject({ ok: true, records: 6 });
  });

  it('drops, counts and does not throw after its end', async () => {
    const audit = await start();
    await audit[Symbol.asyncDispose]();
    await audit[Symbol.asyncDispose]();
    audit.report(SAMPLES['internal-error'][0]);
    expect(audit.counts).toMatchObject({ records: 2, dropped: 1 });
    expect(records()).toHaveLength(2);
  });

  it('is appended to a log that is there, past a line that lost its end', async () => {
    await (await start())[Symbol.asyncDispose]();
    writeFileSync(path, '{"time":1', { flag: 'a' });
    await (await start({ context: { ...CONTEXT, bootId: 'second' } }))[Symbol.asyncDispose]();
    expect(await verify()).toMatchObject({
      records: 5,
      chains: 2,
      open: 0,
      problems: [{ line: 3, kind: 'unreadable' }],
    });
  });

  it('shows short lines, and goes on when nobody reads them', async () => {
    const terminal = new Collector();
    const audit = await start({ terminal });
    audit.report(SAMPLES['connection-denied'][0]);
    terminal.destroy(new Error('EPIPE'));
    audit.report(SAMPLES['connection-denied'][0]);
    await audit[Symbol.asyncDispose]();
    expect(terminal.text.split('\n')).toEqual([
      expect.stringContaining('AUDIT'),
      expect.stringContaining('DENIED'),
      '',
    ]);
    expect(audit.counts).toEqual({ records: 4, dropped: 0, hidden: 2 });
  });
});

describe('who may open it', () => {
  it('the owner alone', async () => {
    await using _ = await start();
    expect(statSync(join(directory, 'log')).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  const place = (mode: number) => {
    mkdirSync(join(directory, 'log'), { mode: 0o700 });
    writeFileSync(path, '');
    chmodSync(path, mode);
  };
  it.each<[string, () => void, RegExp]>([
    [
      'a link',
      () => {
        mkdirSync(join(directory, 'log'));
        symlinkSync(join(directory, 'elsewhere'), path);
      },
      /not a regular file/,
    ],
    ['a directory', () => mkdirSync(path, { recursive: true }), /not a regular file/],
    [
      'a device',
      () => {
        path = '/dev/full';
      },
      /not a regular file/,
    ],
    ['a file that others may write', () => place(0o620), /read or written by others/],
    ['a file that others may read', () => place(0o604), /read or written by others/],
    [
      'a file with another name',
      () => {
        place(0o600);
        linkSync(path, join(directory, 'other'));
      },
      /another name/,
    ],
    [
      'a directory that everybody may write',
      () => {
        place(0o600);
        chmodSync(join(directory, 'log'), 0o777);
      },
      /everybody may write/,
    ],
    [
      'a path through a file',
      () => {
        writeFileSync(join(directory, 'log'), '');
      },
      /ENOTDIR|EEXIST/,
    ],
  ])('refuses %s', async (_, prepare, problem) => {
    prepare();
    const refusal = await start().then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refusal).toBeInstanceOf(CastellanError);
    expect(refusal).toMatchObject({ code: 'audit_failed', step: 'audit', object: path });
    expect((refusal as Error).message).toMatch(problem);
    expect(readdirSync(directory)).not.toContain('elsewhere');
  });

  it.skipIf(!isRoot)('refuses a file of another user (needs root to make one)', async () => {
    place(0o600);
    chownSync(path, 65534, 65534);
    await expect(start()).rejects.toThrow(/another user/);
  });
});

describe('what is written', () => {
  it('keeps its order, whatever the size and the importance', async () => {
    const writer = startWriter(await openLog(path), path, neverFails);
    const lines = Array.from({ length: 3000 }, (_, index) => `${index} ${'x'.repeat((index * 37) % 900)}`);
    for (const [index, line] of lines.entries()) {
      writer.write(line, index % 100 === 0);
      if (index % 500 === 0) await writer.flush();
    }
    await writer.close();
    expect(readFileSync(path, 'utf8')).toBe(`${lines.join('\n')}\n`);
  });

  it('is whole lines but for the last when the process is killed', async () => {
    const script = `
      const { openAudit } = await import(${JSON.stringify(join(ROOT, 'src/audit/audit.ts'))});
      const audit = await openAudit({ path: ${JSON.stringify(path)}, context: ${JSON.stringify(CONTEXT)}, terminal: undefined, colour: false, onFailure() {} });
      const report = () => { for (let i = 0; i < 50; i++) audit.report(${JSON.stringify(SAMPLES['connection-denied'][0])}); };
      setInterval(report, 0);
      await audit.flush();
      setTimeout(() => process.stdout.write('going'), 50);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const gone = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve, reject) => {
      child.stdout.once('data', resolve);
      child.once('exit', () => reject(new Error('ended by itself')));
    });
    child.kill('SIGKILL');
    await gone;
    // write(2) ends at a page's end where SIGKILL comes in between: at most the last line is a part of one.
    const written = readFileSync(path, 'utf8');
    const whole = written.lastIndexOf('\n') + 1;
    expect(written.slice(whole)).toMatch(/^(\{|$)/);
    truncateSync(path, Buffer.byteLength(written.slice(0, whole)));
    const report = await verify();
    expect(report).toMatchObject({ ok: true, open: 1 });
    expect(report.records).toBeGreaterThan(1);
  });
});

describe('a disk that is full', () => {
  it('is told once, and everything after it counted as lost', async () => {
    const failures: CastellanError[] = [];
    const writer = startWriter(await open('/dev/full', 'a'), '/dev/full', (error) => failures.push(error));
    for (let index = 0; index < 10; index += 1) writer.write('a line', false);
    await writer.flush();
    writer.write('a line', true);
    await writer.close();
    expect(failures).toMatchObject([{ code: 'audit_failed', errno: 'ENOSPC', object: '/dev/full' }]);
    expect(writer.lost).toBe(11);
  });

  it('leaves no half of a record', async () => {
    const file = await openLog(path);
    const limit = 5500;
    // As the kernel does it when the disk fills: the part that fits, then an error.
    const write = file.write.bind(file) as (
      bytes: Uint8Array,
      offset: number,
      length: number,
    ) => ReturnType<typeof file.write>;
    let size = 0;
    Object.assign(file, {
      async write(bytes: Uint8Array, offset = 0) {
        const room = Math.min(limit - size, bytes.length - offset);
        if (room === 0) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
        const result = await write(bytes, offset, room);
        size += result.bytesWritten;
        return result;
      },
    });
    const failures: CastellanError[] = [];
    const writer = startWriter(file, path, (error) => failures.push(error));
    for (let index = 0; index < 7; index += 1) {
      writer.write('x'.repeat(999), false);
      await writer.flush();
    }
    await writer.close();
    expect(failures).toMatchObject([{ errno: 'ENOSPC' }]);
    expect(readFileSync(path, 'utf8')).toBe(`${'x'.repeat(999)}\n`.repeat(5));
    expect(writer.lost).toBe(2);
  });
});

describe('a disk that does not keep up', () => {
  it('drops what is unimportant first, keeps the chain whole, and says how much is missing', async () => {
    const audit = await start();
    const fact: AuditFact = { ...SAMPLES['connection-denied'][0], detail: 'x'.repeat(3000) };
    // Nothing is written before this function gives way.
    let reported = 0;
    while (audit.counts.dropped < 10 && reported < 20_000) {
      audit.report(fact);
      reported += 1;
    }
    audit.report({ kind: 'internal-error', where: 'test', message: 'this one counts' });
    await audit.flush();
    await audit[Symbol.asyncDispose]();
    const events = records();
    expect(await verify()).toMatchObject({ ok: true, open: 0 });
    expect(events.filter(({ class_uid }) => class_uid === 6008)).toHaveLength(1);
    expect(events.filter(({ activity_name }) => activity_name === 'Records Dropped')).toMatchObject([
      { type_uid: 100899, severity: 'High', count: 10 },
    ]);
    expect(events.filter(({ class_uid }) => class_uid === 4001)).toHaveLength(reported - 10);
  });
});

describe('a terminal that does not keep up', () => {
  it('misses lines, is told how many, and never more than a little memory is held', () => {
    const held: (() => void)[] = [];
    const written: string[] = [];
    const slow = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _, done) {
        written.push(chunk.toString());
        held.push(done);
      },
    });
    const sink = createTerminalSink(slow);
    const line = 'x'.repeat(1023);
    for (let index = 0; index < 1000; index += 1) sink.write(line);
    expect(slow.writableLength).toBeLessThan(300 * 1024);
    const { hidden } = sink;
    expect(hidden).toBeGreaterThan(600);
    for (let done = held.shift(); done !== undefined; done = held.shift()) done();
    return new Promise<void>((resolve) => {
      const release = setInterval(() => {
        for (let done = held.shift(); done !== undefined; done = held.shift()) done();
        if (slow.writableLength > 0) return;
        clearInterval(release);
        sink.write('again');
        expect(written.at(-1)).toBe(`(${hidden} events not shown here; the log has them)\n`);
        resolve();
      }, 1);
    });
  });
});
