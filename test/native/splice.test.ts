/** The thread that moves the bytes of tunnels: its ends, its limits, and that no byte is lost, doubled or given to another. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { posix, SPLICE_IN, SPLICE_OUT, type SpliceRelay } from '../../src/kernel/posix.ts';
import { type Random, seededRandom } from '../unit/random.ts';
import { startPython } from './python.ts';
import { BOTH, fate, openDescriptors, receive, received, SpliceWorld } from './splice-world.ts';

/** More than the buffers of two connections hold. */
const MUCH = Buffer.alloc(48 * 1024 * 1024, 'abcdefg');
const LONG_MS = 60_000;
/** Says the limit of open files of a process, and then sets it to what it is told. */
const LIMITS = `import resource, sys
pid = int(sys.argv[1])
soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
print(soft, flush=True)
for line in sys.stdin:
  resource.prlimit(pid, resource.RLIMIT_NOFILE, (int(line), hard))
  print(int(line), flush=True)`;
const CUT = /^(ECONNRESET|EPIPE)$/;

let world: SpliceWorld;
beforeEach(() => {
  world = new SpliceWorld();
});
afterEach(() => world[Symbol.asyncDispose]());

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('an end', () => {
  test.each(['client', 'upstream'] as const)('of the %s alone leaves the other direction', async (first) => {
    const tunnel = await world.openTunnel(world.startRelay());
    const second = first === 'client' ? 'upstream' : 'client';
    tunnel[first].end('question');
    expect(await received(tunnel[second])).toBe('question');
    tunnel[second].write('ans');
    expect(await receive(tunnel[first], 3)).toBe('ans');
    tunnel[second].end('wer');
    expect(await received(tunnel[first])).toBe('wer');
    const [bytesOut, bytesIn] = first === 'client' ? [8, 6] : [6, 8];
    expect(await tunnel.end).toMatchObject({ how: 'closed', bytesOut, bytesIn });
  });

  test('of both without a byte', async () => {
    const tunnel = await world.openTunnel(world.startRelay());
    const fates = [fate(tunnel.client), fate(tunnel.upstream)];
    tunnel.client.end();
    tunnel.upstream.end();
    expect(await Promise.all(fates)).toEqual(['end', 'end']);
    expect(await tunnel.end).toMatchObject({ how: 'closed', bytesOut: 0, bytesIn: 0 });
  });

  test('that came before its direction began is passed on', async () => {
    const relay = world.startRelay();
    const tunnel = await world.openTunnel(relay, 0);
    tunnel.client.end('all');
    tunnel.upstream.end('done');
    await Promise.all([tunnel.client, tunnel.upstream].map((socket) => once(socket, 'finish')));
    posix().spliceBegin(relay.value, tunnel.id, SPLICE_OUT);
    expect(await received(tunnel.upstream)).toBe('all');
    posix().spliceBegin(relay.value, tunnel.id, SPLICE_IN);
    expect(await received(tunnel.client)).toBe('done');
    expect(await tunnel.end).toMatchObject({ how: 'closed', bytesOut: 3, bytesIn: 4 });
  });
});

describe('a reset', () => {
  test.each(['client', 'upstream'] as const)('by the %s resets the other side', async (side) => {
    const tunnel = await world.openTunnel(world.startRelay());
    const other = fate(side === 'client' ? tunnel.upstream : tunnel.client);
    tunnel[side].resetAndDestroy();
    expect(await tunnel.end).toMatchObject({ how: 'broken', side, code: 'ECONNRESET' });
    expect(await other).toBe('ECONNRESET');
  });

  test('is met by writing, and what was sent before it still arrives', async () => {
    const relay = world.startRelay();
    const tunnel = await world.openTunnel(relay, SPLICE_OUT);
    const answer = received(tunnel.client).catch(({ code }) => code);
    const first = once(tunnel.client, 'data');
    await new Promise((sent) => tunnel.upstream.write('too large', sent));
    tunnel.upstream.resetAndDestroy();
    await once(tunnel.upstream, 'close');
    tunnel.client.write('upload');
    posix().spliceBegin(relay.value, tunnel.id, SPLICE_IN);
    expect(await tunnel.end).toMatchObject({ how: 'broken', side: 'upstream', bytesOut: 0, bytesIn: 9 });
    expect(String((await first)[0])).toBe('too large');
    expect(await answer).toBe('ECONNRESET');
  });

  test('by a program that is killed while it is being sent to', async () => {
    const client = await world.connection();
    const { near, program } = await world.program('s.recv(1)\nprint("got", flush=True)');
    const { end } = world.handOver(world.startRelay(), client.near, near);
    const sender = fate(client.far);
    client.far.write(MUCH);
    expect(await program.line()).toBe('got');
    await program[Symbol.asyncDispose]();
    expect(await end).toMatchObject({ how: 'broken', side: 'upstream' });
    expect(await sender).toMatch(CUT);
  });

  test('that was asked for cuts both sides during a transfer', async () => {
    const relay = world.startRelay();
    const tunnel = await world.openTunnel(relay);
    tunnel.client.write(MUCH);
    tunnel.upstream.write(MUCH);
    await Promise.all([tunnel.client, tunnel.upstream].map((socket) => once(socket, 'readable')));
    const fates = [fate(tunnel.client), fate(tunnel.upstream)];
    posix().spliceCancel(relay.value, tunnel.id);
    posix().spliceCancel(relay.value, tunnel.id);
    posix().spliceBegin(relay.value, tunnel.id, BOTH);
    expect((await tunnel.end).how).toBe('cancelled');
    for (const how of await Promise.all(fates)) expect(how).toMatch(CUT);
    posix().spliceCancel(relay.value, tunnel.id);
  });

  test('of one socket is at once, whoever else has it open', async () => {
    const tunnel = await world.openTunnel(world.startRelay());
    const { near, far } = await world.connection();
    const third = fate(far);
    const fates = [fate(tunnel.client), fate(tunnel.upstream)];
    const { _handle: handle } = near as unknown as { readonly _handle: { readonly fd: number } };
    posix().resetConnection(handle.fd);
    expect(await third).toBe('ECONNRESET');
    posix().resetConnection(handle.fd);
    tunnel.client.end();
    tunnel.upstream.end();
    expect(await Promise.all(fates)).toEqual(['end', 'end']);
  });
});

describe('limits', () => {
  test('a tunnel without a byte ends, and one that moves does not', async () => {
    // Long enough for the one that moves to keep up on a loaded machine.
    const relay = world.startRelay(1500);
    const [still, moving] = [await world.openTunnel(relay), await world.openTunnel(relay)];
    const fates = [fate(still.client), fate(still.upstream)];
    let over = false;
    void still.end.then(() => {
      over = true;
    });
    while (!over) {
      moving.client.write('.');
      await receive(moving.upstream, 1);
    }
    expect((await still.end).how).toBe('idle');
    expect(await Promise.all(fates)).toEqual(['end', 'end']);
    moving.client.end();
    moving.upstream.end();
    for (const socket of [moving.client, moving.upstream]) socket.resume();
    expect((await moving.end).how).toBe('closed');
  });

  test('a tunnel that is half closed ends sooner', async () => {
    const tunnel = await world.openTunnel(world.startRelay(LONG_MS, 50));
    tunnel.client.end();
    expect((await tunnel.end).how).toBe('half-idle');
  });

  test('so does one whose client is gone while what it sent before cannot move', async () => {
    const tunnel = await world.openTunnel(world.startRelay(LONG_MS, 50), SPLICE_IN);
    await new Promise((sent) => tunnel.client.write('x', sent));
    tunnel.client.resetAndDestroy();
    expect((await tunnel.end).how).toBe('half-idle');
  });
});

describe('bytes', () => {
  const rest = () => new Promise((resolve) => setImmediate(resolve));

  /** Reads at its own pace. */
  async function drink(socket: Socket, random: Random): Promise<string> {
    const hash = createHash('sha256');
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      hash.update(chunk as Buffer);
      if (random.below(3) === 0) await rest();
    }
    return hash.digest('hex');
  }

  /** Mostly small pieces, and some large. */
  async function pour(socket: Socket, bytes: Buffer, random: Random): Promise<void> {
    for (let from = 0; from < bytes.length; ) {
      const to = from + 1 + random.below(random.pick([2, 100, 3000, 200_000]));
      if (!socket.write(bytes.subarray(from, to))) await once(socket, 'drain');
      else if (random.below(10) === 0) await rest();
      from = to;
    }
    socket.end();
  }

  test('of 200 tunnels arrive as they were sent, while others are cut', async () => {
    const relay = world.startRelay();
    const random = seededRandom(7);
    const pool = Buffer.from(random.bytes(400_000));
    const piece = (): Buffer => {
      const from = random.below(100_000);
      return pool.subarray(from, from + random.below(random.pick([10, 10_000, 300_000])));
    };
    const carry = async (cut: boolean): Promise<void> => {
      const tunnel = await world.openTunnel(relay);
      const [out, into] = [piece(), piece()];
      if (cut) {
        tunnel.client.write(out);
        tunnel.upstream.write(into);
        setImmediate(() => posix().spliceCancel(relay.value, tunnel.id));
        expect((await tunnel.end).how).toBe('cancelled');
        return;
      }
      const drunk = [drink(tunnel.upstream, random), drink(tunnel.client, random)];
      await Promise.all([pour(tunnel.client, out, random), pour(tunnel.upstream, into, random)]);
      expect(await Promise.all(drunk)).toEqual([digest(out), digest(into)]);
      expect(await tunnel.end).toMatchObject({ how: 'closed', bytesOut: out.length, bytesIn: into.length });
    };
    await Promise.all(Array.from({ length: 200 }, (_, index) => carry(index % 5 === 0)));
  });

  test.each(['client', 'upstream'] as const)(
    'to a %s that does not read wait, and nobody else does',
    async (side) => {
      const relay = world.startRelay();
      const [slow, quick] = [await world.openTunnel(relay), await world.openTunnel(relay)];
      const writer = side === 'client' ? slow.upstream : slow.client;
      writer.end(MUCH);
      for (let round = 0; round < 200; round++) {
        quick.client.write('?');
        expect(await receive(quick.upstream, 1)).toBe('?');
      }
      expect(writer.writableFinished).toBe(false);
      const hash = createHash('sha256');
      for await (const chunk of slow[side].iterator({ destroyOnReturn: false })) hash.update(chunk as Buffer);
      expect(hash.digest('hex')).toBe(digest(MUCH));
    },
  );

  test.each([
    ['in front of the end', 's.send(b"!", socket.MSG_OOB)'],
    ['in front of more', 's.send(b"!", socket.MSG_OOB); s.send(b"c" * 100000)'],
    ['after what was read', 'input(); s.send(b"!", socket.MSG_OOB); input(); s.send(b"c" * 100000)'],
  ])('that are urgent, %s, are left out as by any program that does not ask for them', async (_, script) => {
    const upstream = await world.connection();
    const { near, program } = await world.program(`s.send(b"ab")\n${script}\ns.shutdown(1)`);
    const { end } = world.handOver(world.startRelay(), near, upstream.near);
    expect(await receive(upstream.far, 2)).toBe('ab');
    program.say('');
    program.say('');
    const rest = 'c'.repeat(script.includes('c"') ? 100_000 : 0);
    expect((await received(upstream.far)) === rest).toBe(true);
    upstream.far.end();
    expect(await end).toMatchObject({ how: 'closed', bytesOut: 2 + rest.length });
  });
});

describe('descriptors', () => {
  /** Whether no more are open than now. There may be fewer: relays of other tests may be about to end. */
  const openAtMost = () => {
    const before = { socket: openDescriptors('socket'), pipe: openDescriptors('pipe') };
    return (...kinds: ('socket' | 'pipe')[]) => kinds.every((kind) => openDescriptors(kind) <= before[kind]);
  };

  test('are as many as before when all has ended', async () => {
    const left = openAtMost();
    const relay = world.startRelay();
    for (const how of ['end', 'resetAndDestroy', 'destroy', 'cancel'] as const) {
      const tunnel = await world.openTunnel(relay);
      tunnel.client.write(MUCH);
      await once(tunnel.upstream, 'readable');
      tunnel.upstream.resume();
      if (how === 'cancel') posix().spliceCancel(relay.value, tunnel.id);
      else tunnel.client[how]();
      if (how === 'end' || how === 'destroy') tunnel.upstream.end();
      await tunnel.end;
    }
    const last = await world.openTunnel(relay);
    posix().spliceStop(relay.value);
    expect((await last.end).how).toBe('cancelled');
    await world[Symbol.asyncDispose]();
    await expect.poll(() => left('socket', 'pipe')).toBe(true);
  });

  test('of pipes are none for tunnels that are quiet', async () => {
    const left = openAtMost();
    const relay = world.startRelay();
    for (let count = 0; count < 20; count++) {
      const { client, upstream } = await world.openTunnel(relay);
      client.write('x');
      upstream.write('y');
      await Promise.all([receive(upstream, 1), receive(client, 1)]);
    }
    await expect.poll(() => left('pipe'), { timeout: 5000 }).toBe(true);
  });

  test('without any left for pipes, bytes move all the same', async () => {
    const relay = world.startRelay();
    const tunnel = await world.openTunnel(relay, 0);
    await using limits = startPython(LIMITS, [String(process.pid)]);
    const limit = await limits.line();
    const drunk = [tunnel.upstream, tunnel.client].map(async (socket) =>
      digest(Buffer.from(await received(socket), 'latin1')),
    );
    try {
      limits.say('3');
      expect(await limits.line()).toBe('3');
      posix().spliceBegin(relay.value, tunnel.id, BOTH);
      tunnel.client.end(MUCH);
      tunnel.upstream.end(MUCH);
      expect(await Promise.all(drunk)).toEqual([digest(MUCH), digest(MUCH)]);
      expect(await tunnel.end).toMatchObject({ how: 'closed', bytesOut: MUCH.length, bytesIn: MUCH.length });
    } finally {
      limits.say(limit);
      await limits.line();
    }
  });
});

describe('what is no tunnel', () => {
  test('is refused', async () => {
    const relay = world.startRelay();
    const { near } = await world.connection();
    expect(() => posix().spliceTunnel({} as SpliceRelay, 0, 1, BOTH)).toThrow(TypeError);
    expect(() => world.handOver(relay, near, near, 4)).toThrow(TypeError);
    expect(() => posix().spliceTunnel(relay.value, -1, 1, BOTH)).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
    posix().spliceStop(relay.value);
    posix().spliceStop(relay.value);
    expect(() => world.handOver(relay, near, near)).toThrow(expect.objectContaining({ code: 'ECANCELED' }));
  });

  test('a file instead of a socket ends as broken', async () => {
    const relay = world.startRelay();
    const { near } = await world.connection();
    const [reader, writer] = posix().pipe();
    const { _handle: handle } = near as unknown as { readonly _handle: { readonly fd: number } };
    const id = posix().spliceTunnel(relay.value, handle.fd, writer, BOTH);
    posix().close(writer);
    posix().close(reader);
    expect((await relay.ended(id)).how).toBe('broken');
  });
});
