import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readOutput } from '../../../src/session/last-output.ts';

describe('readOutput', () => {
  it('reads to the end of the stream', async () => {
    const from = new PassThrough();
    const seen: string[] = [];
    const read = readOutput(from, new Promise(() => {}), async (chunk) => void seen.push(String(chunk)));
    from.write('a');
    from.end('b');
    await read;
    expect(seen.join('')).toBe('ab');
  });

  it('ends in silence after the exit, though somebody holds the stream', async () => {
    const from = new PassThrough();
    const { promise: exited, resolve: exit } = Promise.withResolvers<void>();
    const seen: string[] = [];
    const read = readOutput(from, exited, async (chunk) => void seen.push(String(chunk)));
    from.write('before');
    exit();
    await Promise.resolve();
    from.write(' after');
    await read;
    expect(seen.join('')).toBe('before after');
    expect(from.destroyed).toBe(true);
  });

  it('does not take the time of a slow reader for silence', async () => {
    const from = new PassThrough();
    const { promise: taken, resolve: take } = Promise.withResolvers<void>();
    let bytes = 0;
    const read = readOutput(from, Promise.resolve(), async (chunk) => {
      bytes += chunk.length;
      if (bytes === 1) await taken;
    });
    from.write('a');
    setTimeout(() => {
      from.end('b');
      take();
    }, 300);
    await read;
    expect(bytes).toBe(2);
  });

  it('ends after what a pipe can hold when others go on writing', async () => {
    async function* forever() {
      for (;;) yield Buffer.alloc(65_536);
    }
    const { Readable } = await import('node:stream');
    let bytes = 0;
    await readOutput(Readable.from(forever()), Promise.resolve(), async (chunk) => {
      bytes += chunk.length;
    });
    expect(bytes).toBeLessThan(4 * 1024 * 1024);
  });
});
