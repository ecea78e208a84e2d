/** Forwards and files by the real OpenSSH clients, into whole runs of castellan. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { unpackPackage } from '../fakes/debian-package.ts';
import { CASTELLAN } from '../fakes/world.ts';
import {
  AGENT_UID,
  ALL_MODES,
  auditEvents,
  CALLER_UID,
  castellan,
  finish,
  isRoot,
  type Mode,
  prepare,
  run,
  type Setup,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const world = useWorld();
const NAME = `forward-${process.pid}`;
const PORT = 8931;
/** Where `ssh -D` listens. */
const SOCKS = '127.0.0.1:8932';

/** The agent's servers, of which one is on loopback and one has a path. */
const SERVERS = `
import http.server, os, socketserver, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'from inside ' + self.path.encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def address_string(self): return 'client'
    def log_message(self, *_): pass
class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer): pass
threading.Thread(target=http.server.ThreadingHTTPServer(('127.0.0.1', ${PORT}), Handler).serve_forever, daemon=True).start()
threading.Thread(target=Unix('app.sock', Handler).serve_forever, daemon=True).start()
print('up', flush=True); sys.stdin.read()`;

beforeAll(async () => {
  if (!isRoot) return;
  const source = join(unpackPackage('openssh-sftp-server'), 'usr/lib/openssh');
  const mounted = await finish(
    world().spawn(['mount', '--bind', source, '/usr/lib/openssh'], { stdio: 'pipe' }),
  );
  expect(mounted).toMatchObject({ code: 0, stderr: '' });
});

describe.skipIf(!isRoot).each(ALL_MODES)('%s (needs root to make the test world)', (mode) => {
  const children: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGTERM');
      await once(child, 'close');
    }
  });

  async function start(): Promise<{ readonly setup: Setup; readonly main: ChildProcess }> {
    const setup = prepare(world(), mode);
    const main = run(setup, ['/usr/bin/python3', '-c', SERVERS], {
      policy: writePolicy(setup),
      name: NAME,
      stdin: 'pipe',
      options: ['--grace', '0'],
    });
    children.push(main);
    await untilPrinted(main, 'up');
    return { setup, main };
  }

  const ssh = (setup: Setup, ...words: string[]) =>
    castellan(setup, ['ssh', '--sandbox', NAME, ...words], 'pipe');

  /** Stays until the run's end. */
  function forward(setup: Setup, ...words: string[]): ChildProcess {
    const child = ssh(setup, '-N', ...words);
    children.push(child);
    return child;
  }

  async function curl(setup: Setup, ...words: string[]): Promise<string> {
    const argv = ['curl', '-sS', '--retry', '20', '--retry-all-errors', '--retry-delay', '1', ...words];
    return (await finish(world().spawn(argv, { stdio: 'pipe', ...asOwner(setup.mode) }))).stdout;
  }

  it('carries TCP and Unix sockets by -W, -L and -D, each on record', async () => {
    const { setup, main } = await start();
    const direct = ssh(setup, '-W', `localhost:${PORT}`);
    direct.stdin?.end('GET /w HTTP/1.0\r\n\r\n');
    expect((await finish(direct)).stdout).toMatch(/^HTTP\/1.0 200 OK[\s\S]*from inside \/w$/);

    const local = join(setup.directory, 'rt/local.sock');
    forward(setup, '-L', `${local}:${join(setup.work, 'app.sock')}`);
    await expect.poll(() => existsSync(local), { timeout: 15_000 }).toBe(true);
    expect(await curl(setup, '--unix-socket', local, 'http://x/l')).toBe('from inside /l');

    const socks = forward(setup, '-D', SOCKS);
    expect(await curl(setup, '--socks5-hostname', SOCKS, `http://localhost:${PORT}/d`)).toBe(
      'from inside /d',
    );

    // The run's end is theirs.
    main.stdin?.end();
    expect((await finish(socks)).code).toBe(255);
    await once(main, 'close');
    const events = auditEvents(setup).filter(({ unmapped }) => unmapped?.['session_kind'] === 'forward');
    expect(events.map(({ type_uid }) => type_uid).sort()).toEqual([
      ...[400701, 400701, 400701],
      ...[400702, 400702, 400702],
    ]);
    expect(events.map(({ message }) => message)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(new RegExp(`^ssh-\\d+\\.1 forwards to 127.0.0.1:${PORT}$`)),
        expect.stringContaining(`${setup.work}/app.sock closed`),
      ]),
    );
  });

  it('leads nowhere but into the sandbox', async () => {
    const { setup } = await start();
    const outcome = async (target: string) => {
      const child = ssh(setup, '-W', target);
      child.stdin?.end('GET http://allowed.demo.test:8080/ HTTP/1.0\r\n\r\n');
      const { code, stdout, stderr } = await finish(child);
      return [code, stdout, /(administratively prohibited|connect failed): /.exec(stderr)?.[1]];
    };
    const prohibited = [255, '', 'administratively prohibited'];
    for (const target of [
      '127.0.0.1:3128',
      '127.0.0.1:15001',
      '127.0.0.53:53',
      '10.77.0.1:8080',
      '[::]:8080',
    ])
      expect([target, ...(await outcome(target))]).toEqual([target, ...prohibited]);
    expect(await outcome('127.0.0.1:1')).toEqual([255, '', 'connect failed']);

    for (const name of ['ssh.sock', 'health.sock']) expect(await hearsOwn(setup, name)).toBe("b''\n");
  });

  /** What one of castellan's own sockets says to who is led to it. */
  async function hearsOwn(setup: Setup, name: string): Promise<string> {
    const socket = join(runDirectory(setup), name);
    expect(existsSync(socket)).toBe(true);
    const local = join(setup.directory, `rt/own-${name}`);
    forward(setup, '-L', `${local}:${socket}`);
    await expect.poll(() => existsSync(local), { timeout: 15_000 }).toBe(true);
    const hears = `import socket; s = socket.socket(socket.AF_UNIX); s.connect('${local}')
try:
  s.sendall(b'GET /metrics HTTP/1.0\\r\\n\\r\\n'); print(s.recv(12))
except (BrokenPipeError, ConnectionResetError): print(b'')`;
    const heard = await finish(
      world().spawn(['/usr/bin/python3', '-c', hears], { stdio: 'pipe', ...asOwner(mode) }),
    );
    return heard.stdout + heard.stderr;
  }

  it('refuses to listen for the sandbox, and says so', async () => {
    const { setup } = await start();
    const proxy = `ProxyCommand=${CASTELLAN} ssh-proxy ${join(runDirectory(setup), 'ssh.sock')}`;
    const argv = ['ssh', ...clientOptions(setup), '-o', proxy, '-o', 'ExitOnForwardFailure=yes'];
    const child = world().spawn([...argv, '-N', '-R', '9000:127.0.0.1:1', 'x@sandbox'], {
      stdio: 'pipe',
      env: setup.environment,
      ...asOwner(mode),
    });
    expect(await finish(child)).toMatchObject({ code: 255, stderr: expect.stringContaining('remote port') });
    await expect
      .poll(() => auditEvents(setup).map(({ status_detail }) => status_detail))
      .toContain('request tcpip-forward is not offered');
  });

  it('copies files as the agent, by sftp and scp', async () => {
    const { setup } = await start();
    const mine = join(setup.directory, 'mine');
    mkdirSync(mine);
    if (mode !== 'root') chownSync(mine, CALLER_UID, CALLER_UID);
    const [near, back] = [join(mine, 'near'), join(mine, 'back')];
    const bytes = Buffer.alloc(3_000_000, 'castellan');
    writeFileSync(near, bytes);
    writeFileSync(
      join(mine, 'batch'),
      `put ${near} ${setup.work}/far\nget ${setup.work}/far ${back}\n-ls /root\n`,
    );
    const client = (program: string, ...words: string[]) => {
      const proxy = `ProxyCommand=${CASTELLAN} ssh-proxy ${join(runDirectory(setup), 'ssh.sock')}`;
      const argv = [program, ...clientOptions(setup), '-o', proxy, ...words];
      return finish(world().spawn(argv, { stdio: 'pipe', env: setup.environment, ...asOwner(mode) }));
    };
    const done = await client('sftp', '-b', join(mine, 'batch'), 'x@sandbox');
    expect(done.code, done.stderr).toBe(0);
    expect(readFileSync(back).equals(bytes)).toBe(true);
    expect(statSync(join(setup.work, 'far')).uid).toBe(mode === 'root' ? AGENT_UID : CALLER_UID);
    expect(await client('scp', near, `x@sandbox:${setup.work}/copied`)).toMatchObject({ code: 0 });
    expect(readFileSync(join(setup.work, 'copied')).equals(bytes)).toBe(true);
    const kinds = auditEvents(setup).filter(({ unmapped }) => unmapped?.['session_kind'] === 'sftp');
    expect(kinds[0]).toMatchObject({
      type_uid: 100701,
      message: expect.stringContaining('sftp sftp-server'),
    });
  });
});

function asOwner(mode: Mode): { readonly asUid?: number } {
  return mode === 'root' ? {} : { asUid: CALLER_UID };
}

function runDirectory({ mode, directory }: Setup): string {
  return mode === 'root' ? join('/run/castellan', NAME) : join(directory, 'rt/castellan', NAME);
}

/** For clients other than `castellan ssh`. */
function clientOptions(setup: Setup): string[] {
  const known = `UserKnownHostsFile=${join(runDirectory(setup), 'known_hosts')}`;
  const options = [known, `HostKeyAlias=castellan-${NAME}`, 'StrictHostKeyChecking=yes', 'BatchMode=yes'];
  return ['-F', 'none', ...options.flatMap((option) => ['-o', option])];
}
