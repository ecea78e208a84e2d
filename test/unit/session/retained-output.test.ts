import { Writable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { followOwnOutput } from '../../../src/session/own-output.ts';
import { createRetainedOutput, HISTORY_BYTES, REPLAY_BYTES } from '../../../src/session/retained-output.ts';

/** A reader that takes everything at once, or only when told to. */
function reader(patient = false) {
  const seen: Buffer[] = [];
  let takeOn = (): void => {};
  return {
    bytes: () => Buffer.concat(seen),
    takeOn: () => takeOn(),
    write(_to: string, bytes: Uint8Array): Promise<void> {
      seen.push(Buffer.from(bytes));
      return patient ? new Promise((resolve) => (takeOn = resolve)) : Promise.resolve();
    },
  };
}

const PATTERN = Buffer.from(Array.from({ length: 251 }, (_, i) => i));
const numbered = (size: number) => Buffer.alloc(size, PATTERN);

describe('createRetainedOutput', () => {
  it('replays the last MiB to who comes late, then goes on, to the end', async () => {
    const output = createRetainedOutput();
    const all = numbered(REPLAY_BYTES + 5000);
    output.push('stdout', all);
    const late = reader();
    const { done } = output.follow(late);
    output.push('stderr', Buffer.from('more'));
    output.end();
    expect(await done).toBe('ended');
    expect(late.bytes().equals(Buffer.concat([all.subarray(5000), Buffer.from('more')]))).toBe(true);
  });

  it('lets go of who falls behind while it still takes a piece, and nobody else notices', async () => {
    const output = createRetainedOutput();
    const stuck = reader(true);
    const quick = reader();
    const [slow, fast] = [output.follow(stuck), output.follow(quick)];
    const chunk = numbered(64 * 1024);
    const rounds = HISTORY_BYTES / chunk.length + 2;
    for (let round = 0; round < rounds; round++) {
      output.push('stdout', chunk);
      await vi.waitFor(() => expect(fast.behind()).toBe(0), { interval: 1 });
    }
    expect(await slow.done).toBe('lagged');
    output.end();
    expect(await fast.done).toBe('ended');
    expect(quick.bytes().length).toBe(rounds * chunk.length);
    stuck.takeOn();
    expect(stuck.bytes().length).toBeLessThan(chunk.length);
  });

  it('gives a newcomer room beyond its replay', async () => {
    const output = createRetainedOutput();
    output.push('stdout', numbered(HISTORY_BYTES));
    const stuck = reader(true);
    const { done } = output.follow(stuck);
    output.push('stdout', numbered(HISTORY_BYTES - REPLAY_BYTES));
    expect(await Promise.race([done, Promise.resolve('attached')])).toBe('attached');
    output.push('stdout', numbered(REPLAY_BYTES));
    expect(await done).toBe('lagged');
  });

  it('stops when the reader wants no more', async () => {
    const output = createRetainedOutput();
    const one = reader();
    const follower = output.follow(one);
    follower.stop();
    output.push('stdout', numbered(10));
    expect(await follower.done).toBe('stopped');
    expect(one.bytes().length).toBe(0);
  });
});

describe('castellan’s own output', () => {
  function collector(stuck: () => boolean) {
    const seen: Buffer[] = [];
    let goOn = (): void => {};
    const stream = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _encoding, done) {
        seen.push(chunk);
        goOn = done;
        if (!stuck()) done();
      },
    });
    return {
      stream,
      text: () => Buffer.concat(seen).toString(),
      bytes: () => Buffer.concat(seen).length,
      goOn: () => goOn(),
    };
  }
  const nobodyStuck = () => false;

  it('keeps the two outputs apart, and is finished when all is written', async () => {
    const output = createRetainedOutput();
    const [stdout, stderr] = [collector(nobodyStuck), collector(nobodyStuck)];
    const own = followOwnOutput(output, { stdout: stdout.stream, stderr: stderr.stream });
    output.push('stdout', Buffer.from('out'));
    output.push('stderr', Buffer.from('err'));
    output.end();
    await own.finished();
    expect([stdout.text(), stderr.text()]).toEqual(['out', 'err']);
  });

  it('makes the process wait for a slow collector, not for one that stopped, and says what it left out', async () => {
    const output = createRetainedOutput();
    let stuck = true;
    const stdout = collector(() => stuck);
    const stderr = collector(nobodyStuck);
    const own = followOwnOutput(output, { stdout: stdout.stream, stderr: stderr.stream }, 50);
    const piece = numbered(1024 * 1024);
    for (let round = 0; round < 3; round++) output.push('stdout', piece);
    const began = performance.now();
    await own.room();
    expect(performance.now() - began).toBeGreaterThan(45);
    // From now on it is not waited for.
    for (let round = 0; round < 5; round++) {
      output.push('stdout', piece);
      await own.room();
    }
    stuck = false;
    stdout.goOn();
    await vi.waitFor(() => expect(stderr.text()).toMatch(/^castellan: \d+ bytes of output are left out/));
    const lost = Number(/\d+/.exec(stderr.text())?.[0]);
    output.end();
    await own.finished();
    expect(stdout.bytes()).toBe(8 * piece.length - lost);
    expect(lost).toBe(8 * piece.length - HISTORY_BYTES - 32 * 1024);
  });

  it('does not wait for ever for the last bytes, nor for a stream that failed', async () => {
    for (const breakIt of [false, true]) {
      const output = createRetainedOutput();
      const stdout = collector(() => true);
      const own = followOwnOutput(output, { stdout: stdout.stream, stderr: stdout.stream }, 20);
      if (breakIt) stdout.stream.destroy(new Error('EPIPE'));
      output.push('stdout', numbered(3_000_000));
      output.end();
      await own.finished();
    }
  });
});
