/** Proxies that people run, with the configuration that their packages suggest. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { freePort } from '../ports.ts';
import { curl, listen, rawClient, rule, startWorld, tcpServer } from './egress-world.ts';
import { inspected } from './inspect-world.ts';
import { upstreamProxy } from './upstream-proxy-world.ts';

interface RealProxy extends AsyncDisposable {
  readonly port: number;
}

/** Starts a program with a configuration file of its own, and waits until its port is open. */
async function start(
  configure: (port: number, directory: string) => string,
  argv: (path: string) => readonly string[],
): Promise<RealProxy> {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-proxy-'));
  const port = await freePort();
  const path = join(directory, 'proxy.conf');
  writeFileSync(path, configure(port, directory));
  const [program = '', ...rest] = argv(path);
  const child = spawn(program, rest, { stdio: 'ignore', cwd: directory });
  await opened(port, child);
  return {
    port,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function opened(port: number, child: ChildProcess): Promise<void> {
  while (child.exitCode === null) {
    const socket = connect(port, '127.0.0.1');
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isOpen) return;
  }
  throw new Error(`the proxy ended with ${child.exitCode}`);
}

/** As Debian configures it, but for the port that it allows CONNECT to. */
const tinyproxy = (allowed: number) =>
  start(
    (port) =>
      `Port ${port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth user secret\nConnectPort ${allowed}\n`,
    (path) => ['/usr/bin/tinyproxy', '-d', '-c', path],
  );

const squid = (allowed: number) =>
  start(
    (port, directory) => {
      execFileSync('chmod', ['0777', directory]);
      return `http_port 127.0.0.1:${port}
acl SSL_ports port ${allowed}
acl CONNECT method CONNECT
http_access deny CONNECT !SSL_ports
http_access allow localhost
http_access deny all
pid_filename none
access_log none
cache_log ${directory}/cache.log
cache deny all
shutdown_lifetime 0 seconds
coredump_dir ${directory}
`;
    },
    (path) => ['/usr/sbin/squid', '-N', '-f', path],
  );

const AUTHORIZED = { credentials: 'user:secret' };

describe.each([
  ['tinyproxy', '/usr/bin/tinyproxy', tinyproxy, AUTHORIZED],
  ['squid', '/usr/sbin/squid', squid, {}],
] as const)('%s', (_, program, startProxy, more) => {
  const there = existsSync(program);

  test.skipIf(!there)('carries tunnels whose server speaks first, and plain HTTP', async () => {
    await using origin = await listen(
      tcpServer((socket) => {
        socket.write('220 ready\n');
        socket.pipe(socket);
      }),
    );
    await using proxy = await startProxy(origin.port);
    await using world = await startWorld([rule('a.test', [origin.port])], upstreamProxy(proxy.port, more));
    const client = rawClient(world.proxyPort, `CONNECT a.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.until(/220 ready\n/);
    client.socket.write('hello');
    await client.until(/hello/);
    client.socket.destroy();
  });

  test.skipIf(!there)(
    'carries plain HTTP where CONNECT is allowed to its port, and is told where not',
    async () => {
      await using origin = await listen(
        createServer((request, response) => response.end(`${request.url}\n`)),
      );
      await using other = await listen(createServer());
      await using proxy = await startProxy(origin.port);
      await using world = await startWorld(
        [rule('a.test', [origin.port, other.port])],
        upstreamProxy(proxy.port, more),
      );
      expect((await curl(world, `http://a.test:${origin.port}/x`)).stdout.toString()).toBe('/x\n');
      const refused = await curl(world, `http://a.test:${other.port}/x`);
      expect(JSON.parse(refused.stdout.toString())).toMatchObject({
        error: 'upstream_proxy_failed',
        proxy_status: 403,
        detail: expect.stringContaining('CONNECT to this port'),
      });
    },
  );

  test.skipIf(!there)('carries requests inside opened TLS, in HTTP/2', async () => {
    const port = await freePort();
    await using proxy = await startProxy(port);
    const options = { ...upstreamProxy(proxy.port, more), server: '2', port } as const;
    await using it = await inspected('protocol: rest, access: full', options);
    const { stdout } = await it.fetch(`${it.base}/a`, '-d', 'x'.repeat(100_000));
    expect(stdout.length).toBeGreaterThan(100_000);
  });
});

test.skipIf(!existsSync('/usr/bin/tinyproxy'))(
  'tinyproxy refuses who does not know its password',
  async () => {
    await using origin = await listen(createServer());
    await using proxy = await tinyproxy(origin.port);
    for (const [credentials, detail] of [
      [undefined, 'it wants credentials'],
      ['user:wrong', 'it does not take the credentials'],
    ] as const) {
      await using world = await startWorld(
        [rule('a.test', [origin.port])],
        upstreamProxy(proxy.port, { credentials }),
      );
      const { stdout } = await curl(world, `http://a.test:${origin.port}/x`);
      expect(stdout.toString()).toContain(detail);
      expect(stdout.toString()).toMatch(/"proxy_status":40[17]/);
    }
  },
);
