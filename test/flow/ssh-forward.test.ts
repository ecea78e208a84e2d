/** Forwards by the real OpenSSH client, to servers of the test. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import ssh2 from 'ssh2';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errnoOf } from '../../src/errors.ts';
import { posix } from '../../src/kernel/posix.ts';
import { descriptorOf } from '../../src/kernel/socket-handle.ts';
import { MAX_FORWARDS_OF_CONNECTION } from '../../src/session/forward-places.ts';
import { reachSandbox } from '../../src/session/ssh/reach.ts';
import { AGENT_UID, isRoot } from '../fakes/cell.ts';
import { makeSshWorld, type SshClient, type SshWorld } from '../fakes/ssh-world.ts';
import { startPython } from '../native/python.ts';
import { CLOSED_PORT } from '../ports.ts';

const LARGE = Buffer.alloc(20_000_000, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));
const SAY_WHY = ['-o', 'LogLevel=INFO'];

let world: SshWorld;
let undo: AsyncDisposableStack;
beforeEach(async () => {
  undo = new AsyncDisposableStack();
  world = undo.use(await makeSshWorld());
});
afterEach(() => undo.disposeAsync());

/** A server of the test; the agent may reach it by a path too. */
async function serve(onSocket: (socket: Socket) => void, place: string | number = 0): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    undo.defer(() => void socket.destroy());
    onSocket(socket);
  });
  if (typeof place === 'string') server.listen(place);
  else server.listen(place, '127.0.0.1');
  await once(server, 'listening');
  if (typeof place === 'string') chmodSync(place, 0o666);
  undo.defer(() => void server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const echo = (socket: Socket) => void socket.pipe(socket);

/** `ssh -N -L`: a local Unix socket that leads to the target. */
async function forwardLocally(
  target: string,
): Promise<{ readonly dial: () => Promise<Socket>; readonly client: SshClient }> {
  const place = join(world.cell.directory, 'local.sock');
  const client = world.ssh([], ['-N', '-o', 'ExitOnForwardFailure=yes', '-L', `${place}:${target}`]);
  await expect
    .poll(() =>
      dialPath(place).then(
        (socket) => socket.destroy().destroyed,
        () => false,
      ),
    )
    .toBe(true);
  return { client, dial: () => dialPath(place) };
}

async function dialPath(path: string): Promise<Socket> {
  // Waits where the client's queue is full.
  const socket = await reachSandbox(path);
  undo.defer(() => void socket.destroy());
  socket.on('error', () => {});
  return socket;
}

/** What comes until the end of it, and nothing is closed by reading it. */
async function untilEnd(socket: Socket): Promise<string> {
  let seen = '';
  socket.on('data', (chunk) => {
    seen += chunk;
  });
  await once(socket, 'end');
  return seen;
}

const forwards = (kind: 'ssh-forward-opened' | 'ssh-forward-closed' | 'ssh-forward-refused') =>
  world.cell.facts.filter((fact) => fact.kind === kind);

describe.skipIf(!isRoot)('forwards (needs root)', () => {
  it('carry 20 MB each way at once, on record', async () => {
    const port = await serve(echo);
    const { bytes, code } = await world.run('', { input: LARGE, options: ['-W', `127.0.0.1:${port}`] });
    expect(bytes.equals(LARGE)).toBe(true);
    expect(code).toBe(0);
    const target = `127.0.0.1:${port}`;
    expect(await world.cell.fact('ssh-forward-closed')).toMatchObject({
      sessionId: 'ssh-1.1',
      target,
      reason: 'ended',
      bytesIn: LARGE.length,
      bytesOut: LARGE.length,
    });
    expect(await world.cell.fact('ssh-forward-opened')).toMatchObject({ target, peer: { uid: 0 } });
    expect(world.cell.facts.some(({ kind }) => kind === 'process-launched')).toBe(false);
  });

  it.each(['localhost', '[::ffff:127.0.0.1]', '127.0.0.1'])('reach %s', async (host) => {
    const port = await serve((socket) => socket.end('here'));
    const { stdout } = await world.run('', { options: ['-W', `${host}:${port}`] });
    expect(stdout).toBe('here');
    expect(forwards('ssh-forward-opened')).toMatchObject([{ target: `127.0.0.1:${port}` }]);
  });

  it('are made as the agent, by paths as it sees them', async () => {
    const path = join(world.cell.work, 'a socket');
    await serve((socket) => {
      const { uid, gid } = posix().peerCredentials(descriptorOf(socket));
      socket.end(`${uid} ${gid}`);
    }, path);
    const { dial } = await forwardLocally(path);
    expect(await text(await dial())).toBe(`${AGENT_UID} ${AGENT_UID}`);
    expect(await world.cell.fact('ssh-forward-opened')).toMatchObject({ target: path });
  });

  it('do not reach castellan’s own sockets', async () => {
    const { dial } = await (async () => {
      const place = join(world.cell.directory, 'own.sock');
      world.ssh([], ['-N', '-L', `${place}:${world.socketPath}`]);
      await expect
        .poll(() =>
          dialPath(place).then(
            () => true,
            () => false,
          ),
        )
        .toBe(true);
      return { dial: () => dialPath(place) };
    })();
    expect(await text(await dial())).toBe('');
    expect(await world.cell.fact('ssh-forward-refused')).toMatchObject({
      why: 'failed',
      target: world.socketPath,
    });
    expect(forwards('ssh-forward-opened')).toEqual([]);
  });

  it.each([
    ['the proxy', '127.0.0.1:3128'],
    ['the resolver', '127.0.0.53:53'],
    ['another machine', '10.77.0.1:80'],
    ['a name', 'example.org:80'],
    ['a name that is an address somewhere', '127.1:80'],
    ['all addresses', '0.0.0.0:80'],
  ])('to %s are refused, in words', async (_, target) => {
    const { code, stderr } = await world.run('', { options: [...SAY_WHY, '-W', target] });
    expect(code).toBe(255);
    expect(stderr).toMatch(/administratively prohibited: (only|the port is castellan)/);
    expect(await world.cell.fact('ssh-forward-refused')).toMatchObject({ target, why: 'prohibited' });
  });

  it('to a closed port fail, and say so before anything is sent', async () => {
    const { code, stderr } = await world.run('', {
      options: [...SAY_WHY, '-W', `127.0.0.1:${CLOSED_PORT}`],
    });
    expect(code).toBe(255);
    expect(stderr).toContain('connect failed: 127.0.0.1:');
    expect(await world.cell.fact('ssh-forward-refused')).toMatchObject({
      why: 'failed',
      reason: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it('to a target that never accepts fail in time, and leave room for others', async () => {
    const full = undo.use(
      startPython(
        `import socket, sys
server = socket.socket(); server.bind(('127.0.0.1', 0)); server.listen(0)
clients = []
for _ in range(2):
    client = socket.socket(); client.setblocking(False); client.connect_ex(server.getsockname()); clients.append(client)
print(server.getsockname()[1], flush=True); sys.stdin.read()`,
        [],
      ),
    );
    const target = `127.0.0.1:${await full.line()}`;
    const port = await serve((socket) => socket.end('here'));
    const stuck = world.run('', { options: ['-W', target] });
    const { stdout } = await world.run('', { options: ['-W', `127.0.0.1:${port}`] });
    expect(stdout).toBe('here');
    expect((await stuck).code).toBe(255);
    expect(await world.cell.fact('ssh-forward-refused')).toMatchObject({
      target,
      reason: expect.stringContaining('ETIMEDOUT'),
    });
  });

  it('pass on the end of either side at once, while the other goes on', async () => {
    const sockets: Socket[] = [];
    const port = await serve((socket) => sockets.push(socket));
    const { dial } = await forwardLocally(`127.0.0.1:${port}`);
    await expect.poll(() => sockets.length).toBeGreaterThan(0);
    const known = sockets.length;
    const near = await dial();
    await expect.poll(() => sockets.length).toBe(known + 1);
    const far = sockets.at(-1) as Socket;
    // The target first.
    far.end('the target’s last');
    expect(await untilEnd(near)).toBe('the target’s last');
    near.end('the client’s last');
    expect(await untilEnd(far)).toBe('the client’s last');
    expect(await world.cell.fact('ssh-forward-closed', ({ bytesIn }) => bytesIn > 0)).toMatchObject({
      reason: 'ended',
    });
    // The client first.
    const second = await dial();
    await expect.poll(() => sockets.length).toBe(known + 2);
    const other = sockets.at(-1) as Socket;
    second.end('question');
    expect(await untilEnd(other)).toBe('question');
    other.end('answer');
    expect(await untilEnd(second)).toBe('answer');
  });

  it('are cut when the target is reset', async () => {
    const port = await serve((socket) => socket.once('data', () => socket.resetAndDestroy()));
    const client = world.ssh([], ['-W', `127.0.0.1:${port}`]);
    client.stdin.write('hello');
    await once(client, 'exit');
    expect(await world.cell.fact('ssh-forward-closed')).toMatchObject({ reason: 'reset' });
  });

  it.each(['killed', 'the server closes'])('reset the target when the client is cut: %s', async (how) => {
    const { promise: cut, resolve } = Promise.withResolvers<string>();
    const port = await serve((socket) => {
      socket.write('ready');
      socket.once('end', () => resolve('end'));
      socket.once('error', (error) => resolve(String((error as NodeJS.ErrnoException).code)));
      socket.resume();
    });
    const client = world.ssh([], ['-W', `127.0.0.1:${port}`]);
    await once(client.stdout, 'data');
    if (how === 'killed') client.kill('SIGKILL');
    else await world.server.close();
    expect(await cut).toBe('ECONNRESET');
    expect(await world.cell.fact('ssh-forward-closed')).toMatchObject({ reason: 'gone' });
  });

  it('wait for a client that does not read', async () => {
    const { promise: opened, resolve } = Promise.withResolvers<Socket>();
    const port = await serve(resolve);
    const client = world.ssh([], ['-W', `127.0.0.1:${port}`]);
    client.stdout.pause();
    const far = await opened;
    const chunk = Buffer.alloc(1 << 20);
    let written = 0;
    const fill = () => {
      while (far.write(chunk)) written += chunk.length;
      written += chunk.length;
    };
    far.on('drain', fill);
    fill();
    const settled = async () => {
      const before = written;
      await new Promise((next) => setTimeout(next, 300));
      return written === before;
    };
    await expect.poll(settled).toBe(true);
    expect(written).toBeLessThan(32 << 20);
    far.removeAllListeners('drain');
    far.end();
    expect((await buffer(client.stdout)).length).toBe(written);
  });

  it.each([
    ['has said that it ends', true, 'end'],
    ['has not', false, 'ECONNRESET'],
  ])('end with the channel of a client that %s: the target is told', async (_, ends, wanted) => {
    const { promise: told, resolve } = Promise.withResolvers<string>();
    const { promise: opened, resolve: open } = Promise.withResolvers<Socket>();
    const port = await serve((socket) => {
      socket.once('end', () => resolve('end'));
      socket.once('error', (error) => resolve(String(errnoOf(error))));
      open(socket.pause());
    });
    const client = new ssh2.Client();
    undo.defer(() => void client.destroy());
    client.connect({ sock: connect(world.socketPath), username: 'x', authHandler: ['none'] });
    await once(client, 'ready');
    const channel = await promisify(client.forwardOut.bind(client))('', 0, '127.0.0.1', port);
    const far = await opened;
    // Less than the window: the client is through with it, and the target has not read anything.
    channel.write(LARGE.subarray(0, 1_900_000));
    if (ends) channel.eof();
    channel.close();
    expect(await world.cell.fact('ssh-forward-closed')).toMatchObject({ reason: 'closed' });
    far.resume();
    expect(await told).toBe(wanted);
    if (ends) expect(far.bytesRead).toBe(1_900_000);
  });

  it('are as many as the limit, and more when some have ended', async () => {
    const held: Socket[] = [];
    const port = await serve((socket) => {
      held.push(socket);
      socket.write('taken');
    });
    const { dial } = await forwardLocally(`127.0.0.1:${port}`);
    await expect.poll(() => forwards('ssh-forward-opened').length).toBeGreaterThan(0);
    for (const socket of held.splice(0)) socket.destroy();
    await expect
      .poll(() => forwards('ssh-forward-closed').length)
      .toBe(forwards('ssh-forward-opened').length);
    const more = 3;
    const dialled = await Promise.all(
      Array.from({ length: MAX_FORWARDS_OF_CONNECTION + more }, () => dial()),
    );
    // Those that were refused may have ended before anybody listens to them.
    const heard = async (socket: Socket) =>
      !socket.destroyed && !socket.readableEnded && (await once(socket, 'data'))[0] !== undefined;
    const outcomes = dialled.map((socket) =>
      Promise.race([heard(socket), once(socket, 'end'), once(socket, 'close')]).catch(() => false),
    );
    expect((await Promise.all(outcomes)).filter((outcome) => outcome === true)).toHaveLength(
      MAX_FORWARDS_OF_CONNECTION,
    );
    expect(forwards('ssh-forward-refused')).toHaveLength(more);
    expect(forwards('ssh-forward-refused')[0]).toMatchObject({ why: 'shortage' });
    for (const socket of [...held.splice(0), ...dialled]) socket.destroy();
    await expect
      .poll(() => forwards('ssh-forward-closed').length)
      .toBe(forwards('ssh-forward-opened').length);
    expect(String((await once(await dial(), 'data'))[0])).toBe('taken');
  }, 30_000);

  it('serve a SOCKS proxy, which reaches nothing but loopback', async () => {
    const port = await serve((socket) =>
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello')),
    );
    const socks = await freeSocks();
    const ask = (url: string) =>
      promisify(execFile)('curl', ['-sS', '--socks5-hostname', socks, url]).then(
        ({ stdout }) => stdout,
        ({ code }) => code,
      );
    expect(await ask(`http://127.0.0.1:${port}/`)).toBe('hello');
    expect(await ask(`http://localhost:${port}/`)).toBe('hello');
    expect(await ask('http://example.org/')).toBe(97);
    expect(forwards('ssh-forward-refused')).toMatchObject([{ target: 'example.org:80', why: 'prohibited' }]);
  });
});

/** `ssh -D` on a port of its own; what it listens on is known when it answers. */
async function freeSocks(): Promise<string> {
  const { freePort } = await import('../ports.ts');
  const port = await freePort();
  world.ssh([], ['-N', '-D', `127.0.0.1:${port}`]);
  await expect
    .poll(async () => {
      const socket = connect(port, '127.0.0.1');
      const opened = await Promise.race([
        once(socket, 'connect').then(() => true),
        once(socket, 'error').then(() => false),
      ]).catch(() => false);
      socket.destroy();
      return opened;
    })
    .toBe(true);
  return `127.0.0.1:${port}`;
}
