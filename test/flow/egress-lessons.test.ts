/** What other proxies got wrong once, tried here: each test stands for a bug that somebody had to fix. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer as createHttp } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { IDENTITY, listen, rawClient, rule, startWorld, tcpServer } from './egress-world.ts';

const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

test('interim responses do not shift the answers of a pipeline', async () => {
  await using origin = await listen(
    tcpServer((socket) => {
      let pending = '';
      socket.on('data', (bytes) => {
        pending += bytes.toString('latin1');
        for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
          const [, path = ''] = pending.split(' ');
          pending = pending.slice(end + 4);
          const interim = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(2);
          socket.write(`${interim}HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
        }
      });
    }),
  );
  await using world = await startWorld([rule('allowed.test', [origin.port])]);
  const get = (path: string, last = false) =>
    `GET http://allowed.test:${origin.port}${path} HTTP/1.1\r\nHost: x\r\n${last ? 'Connection: close\r\n' : ''}\r\n`;
  const text = await rawClient(world.proxyPort, get('/one') + get('/two') + get('/three', true)).end();
  expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(
    Array.from({ length: 3 }, () => ['103', '103', '200']).flat(),
  );
  expect([...text.matchAll(/\r\n\r\n(\/[a-z]+)/g)].map(([, path]) => path)).toEqual([
    '/one',
    '/two',
    '/three',
  ]);
});

test('each request of a kept connection asks anew who holds it', async () => {
  await using origin = await listen(createHttp((_request, response) => response.end('ok')));
  const holders = ['/usr/bin/curl', '/usr/bin/other'];
  await using world = await startWorld([rule('allowed.test', [origin.port])], {
    identify: async () => ({
      ok: true,
      identity: { ...IDENTITY, executable: holders.shift() ?? '', ancestors: [] },
    }),
  });
  const get = `GET http://allowed.test:${origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\n`;
  const client = rawClient(world.proxyPort, get);
  await client.until(/ok/);
  client.socket.write(get);
  expect(await client.until(/ 403 [\s\S]*\}/)).toContain('binary_not_listed');
  client.socket.destroy();
});

test('frames that an origin sends together with its 101 arrive', async () => {
  await using origin = await listen(
    tcpServer((socket) =>
      socket.once('data', (bytes) => {
        const key = /sec-websocket-key: (.*)\r\n/i.exec(bytes.toString('latin1'))?.[1] ?? '';
        const accept = createHash('sha1')
          .update(key + ACCEPT_GUID)
          .digest('base64');
        const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
        socket.write(Buffer.from(`${head}\x81\x05hello`, 'latin1'));
      }),
    ),
  );
  await using world = await startWorld([rule('allowed.test', [origin.port])]);
  const host = `allowed.test:${origin.port}`;
  const client = rawClient(
    world.proxyPort,
    `GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
  );
  expect(await client.until(/hello/)).toContain('\r\n\r\n\x81\x05hello');
  client.socket.destroy();
});

test('requests leave nothing behind', async () => {
  await using origin = await listen(createHttp((_request, response) => response.end('ok')));
  await using world = await startWorld([rule('allowed.test', [origin.port])]);
  const sockets = () => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
  const ask = (count: number) =>
    Promise.all(
      Array.from({ length: count }, () =>
        rawClient(
          world.proxyPort,
          `GET http://allowed.test:${origin.port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
        ).end(),
      ),
    );
  const before = sockets();
  for (let round = 0; round < 5; round++)
    for (const text of await ask(20)) expect(text).toMatch(/^HTTP\/1\.1 200 /);
  // The last close of an origin's side comes a turn of the loop after its client's.
  await expect.poll(sockets).toBeLessThanOrEqual(before);
});

test('without descriptors nobody is accepted, and with some again everybody', async () => {
  const program = join(import.meta.dirname, 'starved-egress.ts');
  const child = spawn('sh', ['-c', 'ulimit -n 64; exec "$0" "$1"', process.execPath, program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const port = Number((await lines.next()).value);
  const held = Array.from({ length: 100 }, () => rawClient(port));
  // The first that is turned away.
  await Promise.race(held.map((client) => client.end()));
  for (const { socket } of held) socket.destroy();
  const ask = () =>
    rawClient(port, 'GET http://a.test/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n').end();
  await expect.poll(ask, { timeout: 10_000 }).toMatch(/^HTTP\/1\.1 403 /);
});
