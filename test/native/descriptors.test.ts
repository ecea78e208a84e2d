/** Descriptors that are passed between processes: SCM_RIGHTS of unix(7). */
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { posix } from '../../src/kernel/posix.ts';
import { filesOpenBelow } from './open-files.ts';
import { type Program, startPython } from './python.ts';

const O_CLOEXEC = 0o2000000;

let directory: string;
let undo: AsyncDisposableStack;

beforeEach(() => {
  undo = new AsyncDisposableStack();
  directory = mkdtempSync(join(tmpdir(), 'castellan-descriptors-'));
  undo.defer(() => rmSync(directory, { recursive: true }));
});
afterEach(() => undo.disposeAsync());

/** Closed after the test. */
function owned(descriptor: number): number {
  undo.defer(() => posix().close(descriptor));
  return descriptor;
}

/** A socket pair of which a Python program has the other end as descriptor 3. */
function withPeer(script: string, ...args: string[]): { socket: number; program: Program } {
  const [socket, theirs] = posix().socketPair();
  const program = undo.use(startPython(script, args, [theirs]));
  posix().close(theirs);
  return { socket: owned(socket), program };
}

function flagsOf(descriptor: number): number {
  return Number.parseInt(
    /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1] ?? '',
    8,
  );
}

describe('receiveDescriptors', () => {
  /** Each argument is one message: how many descriptors of new files go with its payload byte. */
  const send = `
import os, socket, sys
peer = socket.socket(fileno=3)
number = 0
for count in sys.argv[2:]:
    files = []
    for _ in range(int(count)):
        files.append(os.open(f'{sys.argv[1]}/{number}', os.O_RDWR | os.O_CREAT))
        os.write(files[-1], str(number).encode())
        number += 1
    if files: socket.send_fds(peer, [b'x'], files)
    else: peer.send(b'x')
print('sent', flush=True)
if sys.argv[2:]: peer.close()
sys.stdin.read()`;

  test('gives them in order, across messages, close-on-exec', async () => {
    const { socket } = withPeer(send, directory, '1', '200', '3');
    const received = await posix().receiveDescriptors(socket, 204, 10_000);
    for (const descriptor of received) owned(descriptor);
    expect(received.map((descriptor) => Number(readFileSync(`/proc/self/fd/${descriptor}`, 'utf8')))).toEqual(
      Array.from({ length: 204 }, (_, index) => index),
    );
    expect(received.every((descriptor) => flagsOf(descriptor) & O_CLOEXEC)).toBe(true);
  });

  test('may be asked in parts', async () => {
    const { socket } = withPeer(send, directory, '1', '2');
    expect(
      await posix()
        .receiveDescriptors(socket, 1, 10_000)
        .then((some) => some.map(owned)),
    ).toHaveLength(1);
    expect(
      await posix()
        .receiveDescriptors(socket, 2, 10_000)
        .then((some) => some.map(owned)),
    ).toHaveLength(2);
  });

  test.each([
    ['too few before the end', ['2', '1'], 4, 'ECONNRESET'],
    ['more than asked for', ['2', '3'], 4, 'EPROTO'],
    ['a message without any', ['1', '0'], 2, 'EPROTO'],
  ])('%s fails and leaves none open', async (_, messages, count, code) => {
    const { socket } = withPeer(send, directory, ...messages);
    await expect(posix().receiveDescriptors(socket, count, 10_000)).rejects.toMatchObject({
      code,
      syscall: 'recvmsg',
    });
    expect(filesOpenBelow(directory)).toBe(0);
  });

  test('takeDescriptors takes what is there, and waits for nothing', async () => {
    const { socket } = withPeer(send, directory, '1', '3');
    const first = await posix().receiveDescriptors(socket, 1, 10_000);
    for (const descriptor of first) owned(descriptor);
    const taken = await posix().receiveDescriptors(socket, 3, 10_000);
    for (const descriptor of taken) owned(descriptor);
    const [here, there] = posix().socketPair().map(owned) as [number, number];
    expect(() => posix().takeDescriptors(there, 1)).toThrow(expect.objectContaining({ code: 'ETIMEDOUT' }));
    posix().sendDescriptors(here, taken);
    const again = posix().takeDescriptors(there, 3);
    for (const descriptor of again) owned(descriptor);
    expect(again.map((descriptor) => readFileSync(`/proc/self/fd/${descriptor}`, 'utf8'))).toEqual([
      '1',
      '2',
      '3',
    ]);
    posix().sendDescriptors(here, taken);
    const open = filesOpenBelow(directory);
    expect(() => posix().takeDescriptors(there, 4)).toThrow(expect.objectContaining({ code: 'ETIMEDOUT' }));
    expect(filesOpenBelow(directory)).toBe(open);
  });

  test('silence ends with the deadline, also when the caller has closed its socket', async () => {
    const [socket, other] = posix().socketPair();
    owned(other);
    const pending = posix().receiveDescriptors(socket, 1, 50);
    posix().close(socket);
    await expect(pending).rejects.toMatchObject({ code: 'ETIMEDOUT', syscall: 'poll' });
  });
});

describe('sendDescriptors', () => {
  test('what is sent in one row is received in it', async () => {
    const [here, there] = posix().socketPair().map(owned) as [number, number];
    const sent = Array.from({ length: 253 }, (_, index) => {
      const path = join(directory, String(index));
      writeFileSync(path, String(index));
      return owned(openSync(path, 'r'));
    });
    posix().sendDescriptors(here, sent);
    const received = await posix().receiveDescriptors(there, 253, 10_000);
    for (const descriptor of received) owned(descriptor);
    expect(received.map((descriptor) => Number(readFileSync(`/proc/self/fd/${descriptor}`, 'utf8')))).toEqual(
      sent.map((_, index) => index),
    );
  });

  test.each([
    ['to nobody', () => [0], 'EPIPE'],
    ['a closed one', () => [1 << 20], 'EBADF'],
  ])('%s throws', (_, row, code) => {
    const [here, there] = posix().socketPair();
    owned(here);
    if (code === 'EPIPE') posix().close(there);
    else owned(there);
    expect(() => posix().sendDescriptors(here, row())).toThrow(
      expect.objectContaining({ code, syscall: 'sendmsg' }),
    );
  });

  test('never waits for a reader', () => {
    const [here, there] = posix().socketPair().map(owned) as [number, number];
    const flood = () => {
      for (;;) posix().sendDescriptors(here, [there]);
    };
    // The kernel counts what is under way, by socket and by user.
    expect(flood).toThrow(/EAGAIN|ETOOMANYREFS/);
  });

  test.each([
    ['none', []],
    ['more than a message takes', Array(254).fill(0)],
    ['words', ['0']],
  ])('%s is a TypeError', (_, row) => {
    const [here] = posix().socketPair().map(owned) as [number];
    expect(() => posix().sendDescriptors(here, row as number[])).toThrow(TypeError);
  });
});
