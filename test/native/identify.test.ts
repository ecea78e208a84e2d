import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  unlinkSync,
} from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { Flow } from '../../src/egress/stages.ts';
import { posix } from '../../src/kernel/posix.ts';
import { createIdentifier, type Identifier } from '../../src/kernel/procfs.ts';
import { parseAddress } from '../../src/policy/match/address.ts';
import { CONNECT, flowOf, sha256, startTimeOf } from './identified.ts';
import { connectBy, spec, UID } from './launcher.ts';
import { isRoot, openTestNamespace, type TestNamespace } from './namespace-client.ts';
import type { Program } from './python.ts';

const PYTHON = '/usr/bin/python3';
const pythonPath = realpathSync(PYTHON);
const shellPath = realpathSync('/bin/sh');

/** The same without a library of its own, so that the program can be one file anywhere. */
const BASH_CONNECT = 'exec 5<>/dev/tcp/1.2.3.4/443; read -r line <&5; echo "$line"; read -r _';

let inside: TestNamespace;
let identify: Identifier;
let directory: string;
let program: Program | undefined;

beforeAll(async () => {
  inside = await openTestNamespace(isRoot ? 'as root' : 'in a user namespace');
});
afterAll(() => inside[Symbol.asyncDispose]());
beforeEach(() => {
  identify = createIdentifier({ ...inside.namespace, supervisorPid: process.pid });
  directory = mkdtempSync(join(tmpdir(), 'castellan-identify-'));
  chmodSync(directory, 0o755);
});
afterEach(async () => {
  await program?.end();
  program = undefined;
  rmSync(directory, { recursive: true });
});

async function connect(command: string, ...args: string[]): Promise<Flow> {
  program = inside.start(command, ...args);
  return flowOf(program);
}

test.each(['1.2.3.4', '2001:db8::1', '::ffff:1.2.3.4'])(
  'the process behind a connection to %s is named',
  async (address) => {
    const flow = await connect(PYTHON, '-c', CONNECT, address);
    expect(await identify(flow)).toEqual({
      ok: true,
      identity: {
        pid: program?.pid,
        startTime: startTimeOf(program?.pid),
        uid: inside.uid,
        executable: pythonPath,
        sha256: sha256(pythonPath),
        ancestors: [],
        ancestorHashes: [],
      },
    });
  },
);

test('the process behind a connection to the proxy is named', async () => {
  const script = `
import json, socket, sys
client = socket.create_connection(('127.0.0.1', 3128))
print(json.dumps(client.getsockname()), flush=True)
sys.stdin.read()`;
  program = inside.start(PYTHON, '-c', script);
  const [localAddress, localPort] = JSON.parse(await program.line());
  const flow: Flow = { family: 4, localAddress, localPort, remoteAddress: '127.0.0.1', remotePort: 3128 };
  expect(await identify(flow)).toMatchObject({
    ok: true,
    identity: { pid: program.pid, executable: pythonPath },
  });
});

test('a connection that castellan holds is no program’s, in its network or out of it', async () => {
  const flow = await connect(PYTHON, '-c', CONNECT, '1.2.3.4');
  const inPod = createIdentifier({ ...inside.namespace, supervisorPid: program?.pid ?? 0 });
  expect(await inPod(flow)).toEqual({ ok: false, reason: 'castellan itself holds the connection' });

  const { networkDescriptor: network, userDescriptor: user } = inside.namespace;
  const address = parseAddress('127.0.0.1');
  if (address === undefined) throw new Error('no address');
  const { connection, failure } = await connectBy(
    spec([], {
      target: { kind: 'tcp', address, port: 3128 },
      namespaces: { user, network },
      credentials: user === undefined ? { uid: UID, gid: UID, groups: [] } : undefined,
    }),
  );
  expect(failure).toBeUndefined();
  const socket = new Socket({ fd: connection ?? -1 });
  const { localAddress = '', localPort = 0 } = socket;
  const forward: Flow = { family: 4, localAddress, localPort, remoteAddress: '127.0.0.1', remotePort: 3128 };
  expect(await identify(forward)).toEqual({ ok: false, reason: 'no process holds the connection' });
  socket.destroy();
});

test('ancestors are told, nearest first, up to the supervisor', async () => {
  const flow = await connect('/bin/sh', '-c', `${PYTHON} -c "$0" 1.2.3.4; true`, CONNECT);
  expect(await identify(flow)).toMatchObject({
    ok: true,
    identity: { executable: pythonPath, ancestors: [shellPath], ancestorHashes: [sha256(shellPath)] },
  });
});

test('a command name made to look like fields of stat changes nothing', async () => {
  const rename = `import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (x) 2 3', 0, 0, 0)`;
  const flow = await connect('/bin/sh', '-c', `${PYTHON} -c "$0" 1.2.3.4; true`, `${rename}\n${CONNECT}`);
  expect(await identify(flow)).toMatchObject({ ok: true, identity: { ancestors: [shellPath] } });
});

test('a socket hidden in a thread with descriptors of its own is found', async () => {
  const script = `
import ctypes, os, threading
def own_table():
    assert ctypes.CDLL(None).unshare(0x400) == 0
    exec(os.environ['CONNECT'])
threading.Thread(target=own_table).start()`;
  const flow = await connect('/usr/bin/env', `CONNECT=${CONNECT}`, PYTHON, '-c', script, '1.2.3.4');
  expect(await identify(flow)).toMatchObject({ ok: true, identity: { pid: program?.pid } });
});

test('many questions at once have the same answer', async () => {
  const flow = await connect(PYTHON, '-c', CONNECT, '1.2.3.4');
  const answers = await Promise.all(Array.from({ length: 20 }, () => identify(flow)));
  expect(answers).toEqual(Array(20).fill(answers[0]));
  expect(answers[0]?.ok).toBe(true);
});

test.each([
  ['another program', 'subprocess.Popen(["/bin/cat"], pass_fds=[client.fileno()])', realpathSync('/bin/cat')],
  ['a child of its own', 'os.fork() or sys.stdin.read()', pythonPath],
])('a connection shared with %s is the eldest’s, and the other is told', async (_, share, heir) => {
  const script = `
import os, socket, subprocess, sys
client = socket.create_connection(('1.2.3.4', 443))
line = client.makefile().readline().strip()
${share}
print(line, flush=True)
sys.stdin.read()`;
  const flow = await connect(PYTHON, '-c', script);
  expect(await identify(flow)).toMatchObject({
    ok: true,
    identity: {
      pid: program?.pid,
      executable: pythonPath,
      ancestors: [],
      heirs: [{ executable: heir, ancestors: [pythonPath] }],
    },
  });
});

test('a connection handed to a process that is no descendant is ambiguous', async () => {
  const script = `
import os, socket, sys
mine, theirs = socket.socketpair()
if os.fork() == 0:
    _, [kept], _, _ = socket.recv_fds(mine, 1, 1)
    os.set_inheritable(kept, True)
    os.set_inheritable(mine.fileno(), True)
    os.execl('/bin/sh', 'sh', '-c', f'echo >&{mine.fileno()}; read x')
if os.fork() == 0:
    client = socket.create_connection(('1.2.3.4', 443))
    line = client.makefile().readline().strip()
    socket.send_fds(theirs, [b'x'], [client.fileno()])
    theirs.recv(1)
    print(line, flush=True)
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()`;
  const flow = await connect(PYTHON, '-c', script);
  expect(await identify(flow)).toEqual({ ok: false, reason: expect.stringContaining('ambiguous') });
});

test('two processes that no rule could tell apart may share', async () => {
  const script = `
import os, socket, sys
client = socket.create_connection(('1.2.3.4', 443))
line = client.recv(1000).decode().strip()
for _ in range(2):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
os.close(client.detach())
print(line, flush=True)
sys.stdin.read()`;
  const flow = await connect(PYTHON, '-c', script);
  expect(await identify(flow)).toMatchObject({
    ok: true,
    identity: { executable: pythonPath, ancestors: [pythonPath] },
  });
});

test('an ancestor that changes between two uses gives no rights, and takes none of its child’s own', async () => {
  const path = join(directory, 'runner');
  const use = async () => {
    const result = await identify(await connect(path, '-c', `${PYTHON} -c "$0" 1.2.3.4; true`, CONNECT));
    await program?.end();
    return result;
  };
  copyFileSync('/bin/bash', path);
  expect(await use()).toMatchObject({ ok: true, identity: { ancestorHashes: [sha256(path)] } });
  unlinkSync(path);
  copyFileSync('/bin/bash', path);
  appendFileSync(path, 'x');
  expect(await use()).toMatchObject({
    ok: true,
    identity: { executable: pythonPath, ancestors: [path], ancestorHashes: [''] },
  });
});

test('questions about one connection that come during a look share the next one', async () => {
  const flow = await connect(PYTHON, '-c', CONNECT, '1.2.3.4');
  const search = vi.spyOn(posix(), 'socketOwners');
  try {
    const answers = await Promise.all(Array.from({ length: 20 }, () => identify(flow)));
    expect(answers.every(({ ok }) => ok)).toBe(true);
    expect(search).toHaveBeenCalledTimes(2);
    await identify(flow);
    expect(search).toHaveBeenCalledTimes(3);
  } finally {
    search.mockRestore();
  }
});

test('an executable that was removed keeps its path', async () => {
  const path = join(directory, 'tool');
  copyFileSync('/bin/bash', path);
  const flow = await connect(path, '-c', BASH_CONNECT);
  unlinkSync(path);
  expect(await identify(flow)).toMatchObject({
    ok: true,
    identity: { executable: path, sha256: sha256('/bin/bash') },
  });
});

test('an executable whose place another file took does not inherit that path', async () => {
  const path = join(directory, 'tool');
  copyFileSync('/bin/bash', path);
  const flow = await connect(path, '-c', BASH_CONNECT);
  unlinkSync(path);
  copyFileSync('/bin/cat', path);
  expect(await identify(flow)).toMatchObject({ ok: true, identity: { executable: `${path} (deleted)` } });
});

test('a file that is really named "(deleted)" is taken at its name', async () => {
  const path = join(directory, 'tool (deleted)');
  copyFileSync('/bin/bash', path);
  const flow = await connect(path, '-c', BASH_CONNECT);
  expect(await identify(flow)).toMatchObject({ ok: true, identity: { executable: path } });
});

test('an executable that changes between two uses is refused, and the first one still accepted', async () => {
  const path = join(directory, 'tool');
  const use = async () => {
    const result = await identify(await connect(path, '-c', BASH_CONNECT));
    await program?.end();
    return result;
  };
  copyFileSync('/bin/bash', path);
  expect(await use()).toMatchObject({ ok: true });
  unlinkSync(path);
  copyFileSync('/bin/bash', path);
  appendFileSync(path, 'x');
  expect(await use()).toEqual({
    ok: false,
    reason: `the executable ${path} has changed since its first use`,
  });
  unlinkSync(path);
  copyFileSync('/bin/bash', path);
  expect(await use()).toMatchObject({ ok: true });
});

test('a program that lies in memory only is refused', async () => {
  const script = `
import os, shutil, sys
memory = os.memfd_create('/usr/bin/curl', 0)
with open('/bin/bash', 'rb') as shell, open(memory, 'wb', closefd=False) as copy: shutil.copyfileobj(shell, copy)
os.execv(f'/proc/self/fd/{memory}', ['bash', '-c', sys.argv[1]])`;
  const flow = await connect(PYTHON, '-c', script, BASH_CONNECT);
  expect(await identify(flow)).toEqual({
    ok: false,
    reason: 'the executable lies in memory and has no path',
  });
});

test.each([
  ['an ended program', async (flow: Flow) => program?.end().then(() => flow)],
  ['another port', async (flow: Flow) => ({ ...flow, localPort: flow.localPort === 1 ? 2 : 1 })],
  [
    'the other way round',
    async (flow: Flow) => ({ ...flow, localAddress: flow.remoteAddress, remoteAddress: flow.localAddress }),
  ],
  [
    'the listener itself',
    async () =>
      ({
        family: 4,
        localAddress: '127.0.0.1',
        localPort: 15001,
        remoteAddress: '127.0.0.1',
        remotePort: 9,
      }) as const,
  ],
])('%s is no connection of the workload', async (_, alter) => {
  const flow = await alter(await connect(PYTHON, '-c', CONNECT, '1.2.3.4'));
  expect(flow && (await identify(flow))).toEqual({
    ok: false,
    reason: 'the workload has no such connection',
  });
});

test('owners outside of the namespace do not count', async () => {
  const flow = await connect(PYTHON, '-c', CONNECT, '1.2.3.4');
  const { diag, inode } = inside.namespace;
  const { family, localAddress, localPort, remoteAddress, remotePort } = flow;
  const socket = posix().tcpSocket(diag, family, localAddress, localPort, remoteAddress, remotePort);
  expect(socket?.uid).toBe(inside.uid);
  expect(await posix().socketOwners(socket?.inode ?? '', inode, -1)).toEqual([program?.pid]);
  expect(await posix().socketOwners(socket?.inode ?? '', '1', -1)).toEqual([]);
  const elsewhere = createIdentifier({ diag, inode: '1', supervisorPid: process.pid });
  expect(await elsewhere(flow)).toEqual({ ok: false, reason: 'no process holds the connection' });
});
