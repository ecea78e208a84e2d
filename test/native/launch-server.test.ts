import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { posix } from '../../src/kernel/posix.ts';
import { filesOpenBelow } from './open-files.ts';
import { startPython } from './python.ts';

let directory: string;
let undo: AsyncDisposableStack;

beforeEach(() => {
  undo = new AsyncDisposableStack();
  directory = mkdtempSync(join(tmpdir(), 'castellan-launch-server-'));
  undo.defer(() => rmSync(directory, { recursive: true }));
});
afterEach(() => undo.disposeAsync());

describe('serveLaunch', () => {
  /** A launcher that reads everything, prints what it got, and ends with the status given as text. */
  const launcher = `
import array, json, os, socket, struct, sys
supervisor = socket.socket(socket.AF_UNIX)
supervisor.connect(sys.argv[1])
def exactly(count):
    data = b''
    while len(data) < count: data += supervisor.recv(count - len(data))
    return data
magic, version, length, count = struct.unpack('<4I', exactly(16))
spec = exactly(length)
messages = []
files = []
while len(files) < count:
    payload, received, _, _ = socket.recv_fds(supervisor, 1, 253)
    messages.append(len(received))
    files += received
texts = [os.pread(file, 100, 0).decode() for file in files]
supervisor.sendall(sys.argv[2].encode())
supervisor.close()
print(json.dumps([magic, version, spec.decode(), messages, texts]), flush=True)
sys.stdin.read()`;

  function listen(): { path: string; listener: number } {
    const path = join(directory, 'socket');
    const listener = posix().listenUnix(path, 0o600);
    undo.defer(() => posix().close(listener));
    return { path, listener };
  }

  test.each([
    ['', 0],
    ['', 3],
    ['a record', 1],
    ['x'.repeat(263), 450],
  ])('sends spec and descriptors and gives the status %j (%i descriptors)', async (status, count) => {
    const { path, listener } = listen();
    const program = undo.use(startPython(launcher, [path, status]));
    const descriptors = Array.from({ length: count }, (_, index) => {
      writeFileSync(join(directory, `${index}`), `${index}`);
      return openSync(join(directory, `${index}`), 'r');
    });
    const spec = Buffer.from('specification '.repeat(20_000));
    const serving = posix().serveLaunch(listener, program.pid, spec, descriptors, 10_000);
    // From here on everything of the caller's may change or go.
    for (const descriptor of descriptors) posix().close(descriptor);
    spec.fill(0);
    expect(Buffer.from(await serving).toString()).toBe(status);
    const [magic, version, received, messages, texts] = JSON.parse(await program.line());
    expect([magic, version]).toEqual([0x4c545343, 1]);
    expect(received).toBe('specification '.repeat(20_000));
    expect(messages).toEqual(count === 450 ? [200, 200, 50] : count === 0 ? [] : [count]);
    expect(texts).toEqual(Array.from({ length: count }, (_, index) => `${index}`));
    expect(filesOpenBelow(directory)).toBe(0);
  });

  test('turns away whoever is not the launcher', async () => {
    const { path, listener } = listen();
    const impostor = undo.use(
      startPython(
        `import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
print('connected', flush=True)
print(client.recv(100), flush=True)`,
        [path],
      ),
    );
    expect(await impostor.line()).toBe('connected');
    const program = undo.use(startPython(launcher, [path, '']));
    expect(await posix().serveLaunch(listener, program.pid, Buffer.from('spec'), [], 10_000)).toHaveLength(0);
    expect(await impostor.line()).toBe("b''");
  });

  const connecting = (then: string): string => `
import socket, sys
supervisor = socket.socket(socket.AF_UNIX)
supervisor.connect(sys.argv[1])
${then}`;

  test.each([
    ['never connects and ends', 'pass', 10_000, 'ESRCH', 'accept'],
    ['never connects and stays', 'import sys; sys.stdin.read()', 100, 'ETIMEDOUT', 'accept'],
    ['connects and says nothing', connecting('sys.stdin.read()'), 100, 'ETIMEDOUT', 'recv'],
    [
      'leaves before it has read all',
      connecting('supervisor.recv(16); supervisor.recv(1, socket.MSG_PEEK)'),
      10_000,
      'ECONNRESET',
      'recv',
    ],
    [
      'says too much',
      connecting("supervisor.recv(99); supervisor.sendall(b'x' * 264); sys.stdin.read()"),
      10_000,
      'EMSGSIZE',
      'recv',
    ],
  ])('a launcher that %s is an error', async (_, script, timeout, code, syscall) => {
    const { path, listener } = listen();
    const program = undo.use(startPython(script, [path]));
    const serving = posix().serveLaunch(listener, program.pid, Buffer.from('spec'), [], timeout);
    await expect(serving).rejects.toMatchObject({ code, syscall });
  });

  test('a launcher that left before a large spec was sent is no success', async () => {
    const { path, listener } = listen();
    const program = undo.use(startPython(connecting(''), [path]));
    await program.end();
    const serving = posix().serveLaunch(listener, program.pid, Buffer.alloc(4 * 1024 * 1024), [], 10_000);
    await expect(serving).rejects.toThrow(/EPIPE|ECONNRESET/);
  });

  test.each([
    ['a connection', "socket.send_fds(supervisor, [b'\\0'], [near.fileno()])", undefined],
    ['two of them', "socket.send_fds(supervisor, [b'\\0'], [near.fileno(), far.fileno()])", undefined],
    ['a record', "supervisor.sendall(b'\\x12' + bytes(7))", 8],
    ['nothing', 'pass', 'ECONNRESET'],
    ['a byte alone', "supervisor.sendall(b'\\0')", 'ECONNRESET'],
    ['a file', "socket.send_fds(supervisor, [b'\\0'], [file.fileno()])", 'EPROTO'],
    ['a socket that listens', "socket.send_fds(supervisor, [b'\\0'], [listening.fileno()])", 'EPROTO'],
    ['datagrams', "socket.send_fds(supervisor, [b'\\0'], [packets.fileno()])", 'EPROTO'],
    ['more than a byte', "socket.send_fds(supervisor, [b'\\0\\0'], [near.fileno()])", 'EPROTO'],
  ])('of a launcher that was to connect it takes, or not: %s', async (_, send, wanted) => {
    const { path, listener } = listen();
    const script = connecting(`supervisor.recv(99)
near, far = socket.socketpair()
file = open('/dev/null')
packets, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
listening = socket.socket(); listening.bind(('127.0.0.1', 0)); listening.listen()
${send}
supervisor.close(); near.close()
far.settimeout(10); print(far.recv(9))`);
    const program = undo.use(startPython(script, [path]));
    const serving = posix().serveConnect(listener, program.pid, Buffer.from('spec'), [], 10_000);
    if (typeof wanted === 'string') await expect(serving).rejects.toMatchObject({ code: wanted });
    else if (wanted !== undefined) expect(await serving).toHaveLength(wanted);
    else {
      const connection = (await serving) as number;
      expect(readFileSync(`/proc/self/fdinfo/${connection}`, 'latin1')).toMatch(/flags:\s+02/);
      posix().close(connection);
    }
    // Nothing that was sent is held on to.
    if (send !== 'pass') expect(await program.line()).toBe("b''");
  });

  test.each([
    ['a spec too large', Buffer.alloc(4 * 1024 * 1024 + 1), [], TypeError],
    ['too many descriptors', Buffer.alloc(1), Array<number>(1025).fill(0), TypeError],
    ['a closed descriptor', Buffer.alloc(1), [0, 999_999], /EBADF/],
  ])('%s is refused at once', (_, spec, descriptors, error) => {
    const { listener } = listen();
    expect(() => posix().serveLaunch(listener, process.pid, spec, descriptors, 1000)).toThrow(error);
  });
});
