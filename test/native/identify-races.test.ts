/** Connections whose holders change while somebody asks who they are. */
import { realpathSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Flow } from '../../src/egress/stages.ts';
import { createIdentifier, type Identifier } from '../../src/kernel/procfs.ts';
import { flowOf, sha256, startTimeOf } from './identified.ts';
import { isRoot, openTestNamespace, type TestNamespace } from './namespace-client.ts';
import type { Program } from './python.ts';

const PYTHON = '/usr/bin/python3';
const pythonPath = realpathSync(PYTHON);
const shellPath = realpathSync('/bin/sh');

let inside: TestNamespace;
let identify: Identifier;
let program: Program | undefined;

beforeAll(async () => {
  inside = await openTestNamespace(isRoot ? 'as root' : 'in a user namespace');
});
afterAll(() => inside[Symbol.asyncDispose]());
beforeEach(() => {
  identify = createIdentifier({ ...inside.namespace, supervisorPid: process.pid });
});
afterEach(async () => {
  await program?.end();
  program = undefined;
});

async function connect(command: string, ...args: string[]): Promise<Flow> {
  program = inside.start(command, ...args);
  return flowOf(program);
}

/** What follows gets `client`, the connection, and `line`, what the listener saw of it. */
const WITH_CLIENT = `
import array, ctypes, os, socket, sys
client = socket.create_connection(('1.2.3.4', 443))
line = client.makefile().readline().strip()
def send(by):
    by.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [client.fileno()]))])
    os.close(client.detach())
def receive(by):
    return array.array('i', by.recvmsg(1, socket.CMSG_SPACE(4))[1][0][2])[0]
`;
/** Says so when it runs, and keeps what it inherited. */
const BECOME_SHELL = `os.execv('/bin/sh', ['sh', '-c', 'echo done; read -r _'])`;

test('a program that becomes another one during a connection is that one from then on', async () => {
  const flow = await connect(
    PYTHON,
    '-c',
    `${WITH_CLIENT}print(line, flush=True); sys.stdin.readline(); client.set_inheritable(True); ${BECOME_SHELL}`,
  );
  const before = await identify(flow);
  expect(before).toMatchObject({ ok: true, identity: { executable: pythonPath } });
  program?.say('go on');
  await program?.line();
  expect(await identify(flow)).toMatchObject({
    ok: true,
    identity: { pid: program?.pid, executable: shellPath, sha256: sha256(shellPath) },
  });
});

test('a connection passed on by SCM_RIGHTS is nobody’s on the way, then that of who received it', async () => {
  const flow = await connect(
    PYTHON,
    '-c',
    `${WITH_CLIENT}
mine, theirs = socket.socketpair()
send(mine)
print(line, flush=True)
sys.stdin.readline()
if os.fork() == 0:
    os.set_inheritable(receive(theirs), True)
    ${BECOME_SHELL}
sys.stdin.read()`,
  );
  expect(await identify(flow)).toEqual({ ok: false, reason: 'no process holds the connection' });
  program?.say('go on');
  await program?.line();
  expect(await identify(flow)).toMatchObject({
    ok: true,
    identity: { executable: shellPath, ancestors: [pythonPath] },
  });
});

test.each([
  ['a child', 'os.fork()'],
  ['a grandchild', 'os.fork() or os.fork()'],
])('%s that outlives what started it has lost those ancestors, and their rights', async (_, fork) => {
  const flow = await connect(
    '/bin/sh',
    '-c',
    `${PYTHON} -c "$0"`,
    `${WITH_CLIENT}
if ${fork}: os._exit(0)
import signal
signal.alarm(20)
while os.getppid() not in (1, ${process.pid}): pass
print(line, flush=True)
signal.pause()`,
  );
  const found = await identify(flow);
  // Its input ended with what started it.
  if (found.ok) process.kill(found.identity.pid);
  expect(found).toMatchObject({ ok: true, identity: { executable: pythonPath, ancestors: [] } });
});

test.skipIf(!isRoot)('a process that has the pid of an ended one is not taken for it (as root)', async () => {
  const flow = await connect(
    PYTHON,
    '-c',
    `${WITH_CLIENT}
import signal, struct
mine, theirs = socket.socketpair()
first = os.fork()
if first == 0: signal.pause()
send(mine)
print(line, flush=True)
sys.stdin.readline()
os.kill(first, signal.SIGKILL)
os.waitpid(first, 0)
# clone3(2) with the pid of the first.
wanted = (ctypes.c_int * 1)(first)
arguments = struct.pack('11Q', 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
second = ctypes.CDLL(None, use_errno=True).syscall(435, arguments, len(arguments))
if second == 0:
    os.set_inheritable(receive(theirs), True)
    ${BECOME_SHELL}
if second != first: print(second, ctypes.get_errno(), flush=True)
sys.stdin.read()`,
  );
  const before = await identify(flow);
  program?.say('go on');
  expect(await program?.line()).toBe('done');
  const after = await identify(flow);
  if (!before.ok || !after.ok) throw new Error(JSON.stringify([before, after]));
  expect(before.identity).toMatchObject({ executable: pythonPath, ancestors: [pythonPath] });
  expect(after.identity).toMatchObject({ pid: before.identity.pid, executable: shellPath });
  expect(after.identity.startTime).toBe(startTimeOf(before.identity.pid));
});
