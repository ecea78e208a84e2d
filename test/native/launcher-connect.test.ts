/** The step that connects: what is handed over, what is not, and that nobody gets at the launcher meanwhile. */
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { posix } from '../../src/kernel/posix.ts';
import { descriptorOf } from '../../src/kernel/socket-handle.ts';
import { connected } from '../../src/launch/connected.ts';
import { landlockSpec } from '../../src/launch/landlock.ts';
import type { ConnectTarget, LaunchSpec } from '../../src/launch/spec.ts';
import { parseAddress } from '../../src/policy/match/address.ts';
import { isRoot } from '../fakes/cell.ts';
import { CLOSED_PORT } from '../ports.ts';
import { connectBy, spec, UID } from './launcher.ts';
import { startPython } from './python.ts';

const [ENOENT, EAGAIN, EACCES] = [2, 11, 13];

let undo: AsyncDisposableStack;
let directory: string;
beforeEach(() => {
  undo = new AsyncDisposableStack();
  directory = mkdtempSync(join(tmpdir(), 'castellan-connect-'));
  chmodSync(directory, 0o755);
  undo.defer(() => rmSync(directory, { recursive: true }));
});
afterEach(() => undo.disposeAsync());

const tcp = (host: string, port: number): ConnectTarget => {
  const address = parseAddress(host);
  if (address === undefined) throw new Error(host);
  return { kind: 'tcp', address, port };
};
const to = (target: ConnectTarget, change: Partial<LaunchSpec> = {}): LaunchSpec =>
  spec([], { target, ...change });

/** Answers with who connected, where the kernel tells. */
async function serve(place: { readonly path: string } | { readonly host: string }): Promise<number> {
  const server = createServer((socket) => {
    const isUnix = 'path' in place;
    socket.end(isUnix ? String(posix().peerCredentials(descriptorOf(socket)).uid) : 'tcp');
  });
  undo.defer(() => void server.close());
  server.listen('path' in place ? place : { port: 0, ...place });
  await once(server, 'listening');
  if ('path' in place) chmodSync(place.path, 0o666);
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function said(connection: number | undefined): Promise<string> {
  return text(new Socket({ fd: connection ?? -1, readable: true }));
}

describe.skipIf(!isRoot)('a connection in the place of a command (needs root)', () => {
  it.each(['127.0.0.1', '127.9.9.9', '::1'])('to %s', async (host) => {
    const port = await serve({ host });
    const { connection, failure, code } = await connectBy(to(tcp(host, port)));
    expect(failure).toBeUndefined();
    expect(await said(connection)).toBe('tcp');
    expect(code).toBe(0);
  });

  it('to a path, with the credentials of the spec', async () => {
    const path = join(directory, 'socket');
    await serve({ path });
    expect(await said((await connectBy(to({ kind: 'unix', path }))).connection)).toBe(String(UID));
  });

  it.each<[string, () => LaunchSpec, number]>([
    ['a path that is not there', () => to({ kind: 'unix', path: join(directory, 'none') }), ENOENT],
    [
      'a port that Landlock does not list',
      () => to(tcp('127.0.0.1', CLOSED_PORT), { landlock: landlockSpec(4, [], { connect: [443] }) }),
      EACCES,
    ],
  ])('fails as a step: %s', async (_, wanted, errno) => {
    expect(await connectBy(wanted())).toEqual({
      connection: undefined,
      failure: { step: 'connect', errno, object: 'connect' },
      code: 125,
    });
  });

  it('to a closed port is handed over, and fails then', async () => {
    const { connection = -1, code } = await connectBy(to(tcp('127.0.0.1', CLOSED_PORT)));
    expect(code).toBe(0);
    await expect(connected(connection, undefined)).rejects.toMatchObject({
      code: 'ECONNREFUSED',
      syscall: 'connect',
    });
    expect(() => posix().close(connection)).toThrow('EBADF');
  });

  it('fails where the mode of the socket keeps the uid out', async () => {
    const path = join(directory, 'socket');
    await serve({ path });
    chmodSync(path, 0o600);
    expect(await connectBy(to({ kind: 'unix', path }))).toMatchObject({ failure: { errno: EACCES } });
  });

  /** Two clients are waiting already: there is no room for a third. */
  const full = (family: string) => `
import os, socket, sys
place = sys.argv[1] if len(sys.argv) > 1 else ('127.0.0.1', 0)
server = socket.socket(socket.${family}); server.bind(place); server.listen(0)
if len(sys.argv) > 1: os.chmod(place, 0o666)
clients = []
for _ in range(2):
    client = socket.socket(socket.${family}); client.setblocking(False)
    client.connect_ex(server.getsockname()); clients.append(client)
print(server.getsockname()[1], flush=True); sys.stdin.read()`;

  it('to a port whose queue is full does not keep the launcher', async () => {
    const program = undo.use(startPython(full('AF_INET')));
    const port = Number.parseInt(await program.line(), 10);
    const { connection = -1, code } = await connectBy(to(tcp('127.0.0.1', port)));
    expect(code).toBe(0);
    expect(posix().connected(connection)).toBe(false);
    const leaving = new AbortController();
    const waiting = connected(connection, leaving.signal);
    leaving.abort();
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
    expect(() => posix().close(connection)).toThrow('EBADF');
  });

  it('to a path whose queue is full fails at once', async () => {
    const path = join(directory, 'full');
    const program = undo.use(startPython(full('AF_UNIX'), [path]));
    await program.line();
    expect((await connectBy(to({ kind: 'unix', path }))).failure).toMatchObject({ errno: EAGAIN });
  });

  it('is made by a launcher that nobody of the same uid gets at, nor into its place', async () => {
    const port = await serve({ host: '127.0.0.1' });
    // Of a launcher that waits for its spec: descriptors, memory, to trace it, to take a descriptor out of it.
    const prying = undo.use(
      startPython(`
import ctypes, os, sys
os.setgroups([]); os.setresgid(${UID}, ${UID}, ${UID}); os.setresuid(${UID}, ${UID}, ${UID})
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what, act):
    try: return what if act() >= 0 else ''
    except PermissionError: return ''
for line in sys.stdin:
    pid = int(line)
    while os.stat(f'/proc/{pid}/fd').st_uid != 0 or 'castellan-launc' not in open(f'/proc/{pid}/status').read(): pass
    pidfd = os.pidfd_open(pid)
    print(os.stat(f'/proc/{pid}').st_uid, attempt('descriptors', lambda: len(os.listdir(f'/proc/{pid}/fd'))),
          attempt('memory', lambda: os.open(f'/proc/{pid}/mem', os.O_RDWR)),
          attempt('trace', lambda: libc.ptrace(16, pid, 0, 0)),
          *(attempt('take', lambda: libc.syscall(438, pidfd, number, 0)) for number in range(10)), flush=True)`),
    );
    const { connection } = await connectBy(to(tcp('127.0.0.1', port), { credentials: undefined }), {
      wrapper: ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--inh-caps=-all', '--'],
      async watch(pid) {
        prying.say(String(pid));
        expect((await prying.line()).trim()).toBe(String(UID));
      },
    });
    expect(await said(connection)).toBe('tcp');
  });
});
