import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, openSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listenOnSocket } from '../../src/session/ssh/listen.ts';
import { isRoot } from '../fakes/cell.ts';
import { makeSshWorld, type SshWorld } from '../fakes/ssh-world.ts';

/** Says what the server says first, or that it hung up without a word. */
const CLIENT = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
try: print((s.recv(8) or b"closed").decode())
except ConnectionResetError: print("closed")
`;

describe.skipIf(!isRoot)('peers of the SSH socket (needs root)', () => {
  let sandbox: ChildProcess;
  let descriptor: number;
  let world: SshWorld;
  beforeEach(async () => {
    sandbox = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (sandbox.stdout === null) throw new Error('no output');
    await once(sandbox.stdout, 'data');
    descriptor = openSync(`/proc/${sandbox.pid}/ns/net`, 'r');
    world = await makeSshWorld({ namespaces: { user: undefined, network: descriptor } });
    writeFileSync(join(world.cell.directory, 'client.py'), CLIENT);
  });
  afterEach(async () => {
    await world[Symbol.asyncDispose]();
    closeSync(descriptor);
    const ended = once(sandbox, 'exit');
    sandbox.kill('SIGKILL');
    await ended;
  });

  async function connectVia(wrapper: readonly string[]): Promise<string> {
    const [program = '', ...rest] = [
      ...wrapper,
      '/usr/bin/python3',
      join(world.cell.directory, 'client.py'),
      world.socketPath,
    ];
    const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
    if (child.stdout === null) throw new Error('no output');
    let seen = '';
    child.stdout.on('data', (chunk) => {
      seen += chunk;
    });
    await once(child, 'close');
    return seen.trim();
  }

  it('lets the owner in, whose session is in the namespace of the sandbox', async () => {
    expect(await connectVia([])).toBe('SSH-2.0-');
    const { stdout } = await world.run('readlink /proc/self/ns/net');
    const here = await world.run('echo $PPID');
    expect(here.code).toBe(0);
    expect(stdout.trim()).toMatch(/^net:\[\d+\]$/);
    expect(stdout.trim()).toBe(await output(['readlink', `/proc/${sandbox.pid}/ns/net`]));
  });

  it('refuses a uid that is not allowed, although the file system would let it', async () => {
    chmodSync(world.cell.runDirectory, 0o755);
    chmodSync(world.socketPath, 0o666);
    expect(await connectVia(['setpriv', '--reuid=20002', '--regid=20002', '--clear-groups'])).toBe('closed');
    expect(await world.cell.fact('ssh-refused')).toMatchObject({
      sessionId: 'ssh-1',
      peer: { uid: 20_002 },
      reason: 'uid 20002 may not connect',
    });
    expect(world.cell.facts.some(({ kind }) => kind === 'ssh-opened')).toBe(false);
  });

  it('refuses a process of the sandbox, although its uid would do', async () => {
    expect(await connectVia(['nsenter', `--net=/proc/${sandbox.pid}/ns/net`])).toBe('closed');
    expect(await world.cell.fact('ssh-refused')).toMatchObject({
      peer: { uid: 0 },
      reason: expect.stringContaining('inside the sandbox'),
    });
  });

  it('replaces a socket that a dead run left', async () => {
    const path = join(world.cell.runDirectory, 'stale.sock');
    const leave = `import net from 'node:net'; net.createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    await once(
      spawn(process.execPath, ['--input-type=module', '-e', leave, path], { stdio: 'ignore' }),
      'exit',
    );
    await expect(listening(path)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await using server = await listenOnSocket(path);
    expect(server.listening).toBe(true);
  });
});

async function listening(path: string): Promise<void> {
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
}

async function output([program = '', ...rest]: readonly string[]): Promise<string> {
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  let seen = '';
  child.stdout?.on('data', (chunk) => {
    seen += chunk;
  });
  await once(child, 'close');
  return seen.trim();
}
