import { spawn, spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { posix } from '../../src/kernel/posix.ts';
import { isRoot } from './namespace-client.ts';
import { startPython, wrapProgram } from './python.ts';

const O_DIRECTORY = 0o200000;
const O_PATH = 0o10000000;
const O_CREAT = 0o100;
const O_CLOEXEC = 0o2000000;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;
const AT_FDCWD = -100;

let directory: string;
let undo: AsyncDisposableStack;

beforeEach(() => {
  undo = new AsyncDisposableStack();
  directory = mkdtempSync(join(tmpdir(), 'castellan-posix-'));
  undo.defer(() => rmSync(directory, { recursive: true }));
});
afterEach(() => undo.disposeAsync());

/** Closed after the test. */
function owned(descriptor: number): number {
  undo.defer(() => posix().close(descriptor));
  return descriptor;
}

function flagsOf(descriptor: number): number {
  return Number.parseInt(
    /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1] ?? '',
    8,
  );
}

describe('files', () => {
  test('openat2 opens below a directory, close-on-exec', () => {
    writeFileSync(join(directory, 'file'), 'text');
    const parent = owned(posix().openat2(AT_FDCWD, directory, O_PATH | O_DIRECTORY, 0, 0));
    const file = owned(posix().openat2(parent, 'file', 0, 0, RESOLVE_BENEATH));
    expect(readFileSync(file, 'utf8')).toBe('text');
    expect(flagsOf(file) & O_CLOEXEC).toBe(O_CLOEXEC);
  });

  test.each([
    ['what is not there', 'missing', 0, 'ENOENT'],
    ['a way up', '../x', RESOLVE_BENEATH, 'EXDEV'],
    ['an absolute path', '/etc/passwd', RESOLVE_BENEATH, 'EXDEV'],
    ['a symbolic link', 'link', RESOLVE_NO_SYMLINKS, 'ELOOP'],
  ])('openat2 refuses %s', (_, path, resolve, code) => {
    symlinkSync('/etc', join(directory, 'link'));
    const parent = owned(posix().openat2(AT_FDCWD, directory, O_PATH | O_DIRECTORY, 0, 0));
    expect(() => posix().openat2(parent, path, 0, 0, resolve)).toThrow(
      expect.objectContaining({ code, syscall: 'openat2' }),
    );
  });

  test('openat2 passes the mode on', () => {
    const path = join(directory, 'new');
    owned(posix().openat2(AT_FDCWD, path, O_CREAT, 0o600, 0));
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('mkdirat makes a directory once', () => {
    const parent = owned(posix().openat2(AT_FDCWD, directory, O_PATH | O_DIRECTORY, 0, 0));
    posix().mkdirat(parent, 'made', 0o700);
    expect(statSync(join(directory, 'made')).mode & 0o7777).toBe(0o700);
    expect(() => posix().mkdirat(parent, 'made', 0o700)).toThrow(
      expect.objectContaining({ code: 'EEXIST', syscall: 'mkdirat' }),
    );
  });

  test.each([
    ['a NUL in a path', () => posix().openat2(AT_FDCWD, '/etc\0/x', 0, 0, 0)],
    ['a fraction for a descriptor', () => posix().close(3.5)],
    ['a number too large for a descriptor', () => posix().close(2 ** 32 + 1)],
    ['a string for a descriptor', () => posix().close('3' as unknown as number)],
    ['a missing argument', () => (posix().mkdirat as (...some: unknown[]) => void)(1, 'x')],
  ])('%s is a TypeError', (_, call) => {
    expect(call).toThrow(TypeError);
  });

  test('pipe gives the reading end first, both close-on-exec', () => {
    const [reader, writer] = posix().pipe().map(owned) as [number, number];
    writeSync(writer, 'through');
    const read = Buffer.alloc(10);
    expect(read.subarray(0, readSync(reader, read)).toString()).toBe('through');
    expect([reader, writer].every((descriptor) => flagsOf(descriptor) & O_CLOEXEC)).toBe(true);
  });

  test('close closes once', () => {
    const [one, other] = posix().socketPair();
    posix().close(one);
    posix().close(other);
    expect(() => posix().close(one)).toThrow(expect.objectContaining({ code: 'EBADF', syscall: 'close' }));
  });
});

describe('this process', () => {
  test('setUndumpable closes /proc to others of the same user', async () => {
    const script = `
      import { posix } from ${JSON.stringify(join(import.meta.dirname, '../../src/kernel/posix.ts'))};
      process.stdin.once('data', () => { posix().setUndumpable(); console.log('closed'); });
      console.log('open');
    `;
    // Root sees everything, unless it lacks the capability to.
    const wrapper = isRoot ? ['/usr/bin/setpriv', '--bounding-set=-all'] : ['/usr/bin/env'];
    const [command = '', ...before] = [
      ...wrapper,
      process.execPath,
      '--input-type=module-typescript',
      '--eval',
      script,
    ];
    const program = undo.use(wrapProgram(spawn(command, before, { stdio: 'pipe' })));
    const [reader = '', ...rest] = [...wrapper, '/bin/cat', `/proc/${program.pid}/environ`];
    expect(await program.line()).toBe('open');
    expect(spawnSync(reader, rest).status).toBe(0);
    program.say('now');
    expect(await program.line()).toBe('closed');
    expect(spawnSync(reader, rest).status).toBe(1);
  });

  test('landlockAbi is what the kernel says', async () => {
    const asked = undo.use(
      startPython('import ctypes; print(max(0, ctypes.CDLL(None).syscall(444, None, 0, 1)))'),
    );
    expect(posix().landlockAbi()).toBe(Number(await asked.line()));
  });
});

describe('Unix sockets', () => {
  const connect = `
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
print('connected', flush=True)
sys.stdin.read()`;

  test.each([0o600, 0o660, 0o666])('listenUnix gives the file mode %o, whatever the umask', (mode) => {
    const path = join(directory, 'socket');
    const before = process.umask(0o077);
    try {
      owned(posix().listenUnix(path, mode));
    } finally {
      process.umask(before);
    }
    expect(statSync(path).mode & 0o777).toBe(mode);
  });

  test.each([
    ['a path too long', () => join(directory, 'x'.repeat(108)), 'ENAMETOOLONG'],
    ['an empty path', () => '', 'EINVAL'],
    ['a missing directory', () => join(directory, 'missing/socket'), 'ENOENT'],
    ['a path in use', () => directory, 'EADDRINUSE'],
  ])('listenUnix refuses %s', (_, path, code) => {
    expect(() => posix().listenUnix(path(), 0o600)).toThrow(
      expect.objectContaining({ code, syscall: 'bind' }),
    );
  });

  test('peerCredentials names the process at the other end', async () => {
    const path = join(directory, 'socket');
    const server = createServer();
    const accepted = new Promise<number>((resolve) => {
      server.on('connection', (socket) => {
        undo.defer(() => void socket.destroy());
        resolve((socket as unknown as { _handle: { fd: number } })._handle.fd);
      });
    });
    server.listen({ fd: posix().listenUnix(path, 0o600) });
    undo.defer(() => void server.close());
    const client = undo.use(startPython(connect, [path]));
    const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
    expect(posix().peerCredentials(await accepted)).toEqual({ pid: client.pid, uid, gid });
  });

  test('adoptListener tells what a socket is, and takes it from whatever is started later', () => {
    const path = join(directory, 'adopted');
    const listener = owned(posix().listenUnix(path, 0o600));
    expect(posix().adoptListener(listener)).toEqual({ family: 'unix', isListening: true, path });
    const [connected] = posix().socketPair().map(owned);
    expect(posix().adoptListener(connected ?? -1)).toEqual({ family: 'unix', isListening: false, path: '' });
    const file = owned(posix().openat2(AT_FDCWD, '/etc/passwd', 0, 0, 0));
    expect(() => posix().adoptListener(file)).toThrow(expect.objectContaining({ code: 'ENOTSOCK' }));
    expect(() => posix().adoptListener(9999)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  test('peerCredentials refuses a socket without a peer', () => {
    const listener = owned(posix().openat2(AT_FDCWD, '/dev/null', 0, 0, 0));
    expect(() => posix().peerCredentials(listener)).toThrow(
      expect.objectContaining({ code: 'ENOTSOCK', syscall: 'getsockopt' }),
    );
  });
});

describe('watching and receiving', () => {
  test('each readability calls back until stopped', async () => {
    const [reader, writer] = posix().socketPair().map(owned) as [number, number];
    expect(posix().receive(reader, 100)).toBeUndefined();
    const read: string[] = [];
    let wake = (): void => undefined;
    const stop = posix().watchReadable(reader, () => {
      read.push(Buffer.from(posix().receive(reader, 3) ?? []).toString());
      wake();
    });
    const lengthIs = async (length: number): Promise<void> => {
      while (read.length < length) await new Promise<void>((resolve) => (wake = resolve));
    };
    writeSync(writer, 'abcdef');
    await lengthIs(2);
    writeSync(writer, 'g');
    await lengthIs(3);
    expect(read).toEqual(['abc', 'def', 'g']);
    stop();
    stop();
    writeSync(writer, 'unseen');
    // A second watch turns the loop: had the first still been there, it would have read.
    await new Promise<void>((resolve) => {
      const again = posix().watchReadable(reader, () => resolve(again()));
    });
    expect(Buffer.from(posix().receive(reader, 100) ?? []).toString()).toBe('unseen');
  });

  test('the end of a stream is empty, not undefined', () => {
    const [reader, writer] = posix().socketPair();
    owned(reader);
    posix().close(writer);
    expect(posix().receive(reader, 10)).toHaveLength(0);
  });

  test('an error in the callback is an uncaught exception, as in any event handler', () => {
    const script = `
      const { posix } = await import(${JSON.stringify(join(import.meta.dirname, '../../src/kernel/posix.ts'))});
      const [reader, writer] = posix().socketPair();
      posix().watchReadable(reader, () => { throw new Error('from the callback'); });
      (await import('node:fs')).writeSync(writer, 'x');`;
    const result = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
      encoding: 'utf8',
      timeout: 10_000,
    });
    expect(result.stderr).toContain('from the callback');
    expect(result.status).toBe(1);
  });

  test.each([0, 65_537])('receive refuses %i bytes', (bytes) => {
    const [reader] = posix().socketPair().map(owned) as [number, number];
    expect(() => posix().receive(reader, bytes)).toThrow(
      expect.objectContaining({ code: 'EINVAL', syscall: 'recv' }),
    );
  });

  test('a file cannot be watched', () => {
    mkdirSync(join(directory, 'sub'));
    const file = owned(openSync(join(directory, 'sub'), 'r'));
    expect(() => posix().watchReadable(file, () => undefined)).toThrow(
      expect.objectContaining({ code: 'EPERM' }),
    );
  });
});

describe('one datagram of any protocol', () => {
  test.each([
    [
      'to a port that nobody has, which the machine itself refuses',
      4,
      17,
      '127.0.0.1',
      'send',
      'ECONNREFUSED',
    ],
    ['the same over IPv6', 6, 17, '::1', 'send', 'ECONNREFUSED'],
    ['to where no route leads', 4, 17, '255.255.255.255', 'connect', 'EACCES'],
    ['to a link that is not there', 6, 17, 'fe80::1%nowhere0', 'connect', 'EINVAL'],
    ['of a protocol that is not there', 4, 254, '127.0.0.1', 'socket', 'EPROTONOSUPPORT'],
  ] as const)('%s', (_, family, protocol, address, syscall, code) => {
    // Port 1 (tcpmux) is nobody's.
    expect(() => posix().probeDatagram(family, protocol, address, 1)).toThrow(
      expect.objectContaining({ syscall, code }),
    );
  });

  test.each([
    [4, '::1'],
    [6, '127.0.0.1'],
    [4, 'localhost'],
    [6, `fe80::1%${'x'.repeat(100)}`],
  ] as const)('family %i has no address %s', (family, address) => {
    expect(() => posix().probeDatagram(family, 17, address, 1)).toThrow(TypeError);
  });
});
