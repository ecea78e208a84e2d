/** Peers that are slow, or that never come to an end: no side's memory is the other's, and each wait is one with a limit. */
import { createServer as createHttp } from 'node:http';
import { connect as connectHttp2, createSecureServer } from 'node:http2';
import { createServer as createHttps } from 'node:https';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { parseToProcessRole } from '../../src/roles/parse.ts';
import { listen, makeCertificate, rawClient, rule, startWorld, tcpServer } from './egress-world.ts';
import { inspected, tunnel, type Version } from './inspect-world.ts';

const REST = 'protocol: rest, access: full';
/** Buffers of the kernel on four sockets, and those of Node: far below what is sent. */
const HELD_BYTES = 24 * 1024 * 1024;
const SENT_BYTES = 96 * 1024 * 1024;
const BLOCK = Buffer.alloc(64 * 1024, 'x');

/** Writes until the other side takes no more for a while; gives how much it took. */
async function fill(stream: Socket | NodeJS.WritableStream): Promise<number> {
  let sent = 0;
  while (sent < SENT_BYTES) {
    sent += BLOCK.length;
    if (stream.write(BLOCK)) continue;
    const stalled = new Promise<'stalled'>((resolve) => setTimeout(() => resolve('stalled'), 300));
    const drained = new Promise<'drained'>((resolve) => stream.once('drain', () => resolve('drained')));
    if ((await Promise.race([stalled, drained])) === 'stalled') return sent;
  }
  return sent;
}

describe('a client that does not read', () => {
  test('a tunnel holds its origin back', async () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    await using origin = await listen(tcpServer((socket) => void fill(socket).then(resolve)));
    await using world = await startWorld([rule('a.test', [origin.port], 'tcp')]);
    const client = rawClient(world.proxyPort, `CONNECT a.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.until(/200/);
    client.socket.pause();
    expect(await promise).toBeLessThan(HELD_BYTES);
    client.socket.destroy();
  });

  test.each<[Version, Version]>([
    ['1.1', '1.1'],
    ['2', '1.1'],
    ['2', '2'],
  ])('a response is held back, from HTTP/%s to HTTP/%s', async (client, server) => {
    const { promise, resolve } = Promise.withResolvers<number>();
    await using it = await inspected(REST, {
      server,
      handler: (_request, response) => {
        response.writeHead(200);
        void fill(response).then(resolve);
      },
    });
    const socket = await tunnel(it.world, it.port, client === '2' ? 'h2' : 'http/1.1');
    if (client === '2') connectHttp2(it.base, { createConnection: () => socket }).request({ ':path': '/' });
    else socket.write(`GET / HTTP/1.1\r\nHost: api.test:${it.port}\r\n\r\n`);
    expect(await promise).toBeLessThan(HELD_BYTES);
    socket.destroy();
  });
});

describe('an origin that does not read', () => {
  test.each<[Version, Version]>([
    ['1.1', '1.1'],
    ['2', '1.1'],
    ['2', '2'],
  ])('an upload is held back, from HTTP/%s to HTTP/%s', async (client, server) => {
    await using it = await inspected(REST, { server, handler: (request) => void request.pause() });
    const socket = await tunnel(it.world, it.port, client === '2' ? 'h2' : 'http/1.1');
    let body: NodeJS.WritableStream = socket;
    if (client === '2') {
      const session = connectHttp2(it.base, { createConnection: () => socket });
      body = session.request({ ':path': '/', ':method': 'POST' }, { endStream: false });
      body.on('error', () => {});
    } else
      socket.write(`POST / HTTP/1.1\r\nHost: api.test:${it.port}\r\nContent-Length: ${SENT_BYTES}\r\n\r\n`);
    expect(await fill(body)).toBeLessThan(HELD_BYTES);
    socket.destroy();
  });
});

describe('an origin that comes to no end', () => {
  const LIMITS = { responseHeadMs: 200 };
  /** Every 20 ms one more, until the connection ends. */
  const trickle = (socket: Socket, text: string): void => {
    const timer = setInterval(() => socket.write(text), 20);
    socket.once('close', () => clearInterval(timer));
  };
  const GET = (port: number) => `GET http://a.test:${port}/ HTTP/1.1\r\nHost: x\r\n\r\n`;

  test.each([
    ['in its head', 'HTTP/1.1 200 OK\r\nX: ', 'x'],
    ['in a head of fields', 'HTTP/1.1 200 OK\r\n', 'X: y\r\n'],
    ['in its first line', 'HTTP/1.1 200 ', 'x'],
    ['in the head after an interim one', 'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n', 'X: y\r\n'],
  ])('%s is answered for: 504', async (_, first, rest) => {
    await using origin = await listen(
      tcpServer((socket) => {
        socket.once('data', () => {
          socket.write(first);
          trickle(socket, rest);
        });
      }),
    );
    await using world = await startWorld([rule('a.test', [origin.port])], { limits: LIMITS });
    const text = await rawClient(world.proxyPort, GET(origin.port)).end();
    expect(text).toMatch(/^HTTP\/1.1 504 .*upstream_timeout.*did not end within 200 ms/s);
  });

  test('but for a body, which may take its time', async () => {
    await using origin = await listen(
      createHttp((_request, response) => {
        response.flushHeaders();
        let left = 30;
        const timer = setInterval(() => {
          if (left-- > 0) return void response.write('x');
          clearInterval(timer);
          response.end();
        }, 10);
      }),
    );
    await using world = await startWorld([rule('a.test', [origin.port])], { limits: LIMITS });
    const client = rawClient(world.proxyPort, GET(origin.port));
    await client.until(/\r\n0\r\n\r\n$/);
    client.socket.destroy();
  });

  test.each([
    [
      'trailers',
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n${`X: ${'y'.repeat(100)}\r\n`.repeat(2000)}`,
    ],
    ['a chunk extension', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(200_000)}`],
  ])('in %s is cut off', async (_, answer) => {
    await using origin = await listen(
      tcpServer((socket) => socket.once('data', () => void socket.write(answer))),
    );
    await using world = await startWorld([rule('a.test', [origin.port])]);
    const text = await rawClient(world.proxyPort, GET(origin.port)).end();
    expect(text).not.toMatch(/\r\n0\r\n\r\n$/);
    expect(await world.fact('connection-failed')).toBeDefined();
  });
});

describe('an origin of HTTP/2 that lies', () => {
  test.each([
    ['fields that are too large together', { x: 'y'.repeat(70_000) }],
    [
      'too many fields',
      Object.fromEntries(Array.from({ length: 3000 }, (_, index) => [`x${index}`, 'y'.repeat(20)])),
    ],
  ])('by %s is answered for', async (_, headers) => {
    await using it = await inspected(REST, {
      client: '2',
      raw: ({ key, cert }) =>
        createSecureServer({ key, cert }).on('stream', (stream) => {
          stream.on('error', () => {});
          stream.respond({ ':status': 200, ...headers });
          stream.end('x');
        }) as never,
    });
    const { stdout } = await it.fetch(`${it.base}/`);
    expect(JSON.parse(stdout.toString())).toMatchObject({ error: 'upstream_failed' });
  });
});

describe('a client', () => {
  test('that ends its side has gone: what it asked for is given up', async () => {
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    await using origin = await listen(createHttp((request) => void request.once('close', resolve)));
    await using world = await startWorld([rule('a.test', [origin.port])]);
    const client = rawClient(world.proxyPort);
    client.socket.write(`GET http://a.test:${origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    await world.fact('connection-allowed');
    client.socket.end();
    await aborted;
    expect(await client.end()).toBe('');
  });

  test.each([
    ['trailers', `0\r\n${`X: ${'y'.repeat(100)}\r\n`.repeat(2000)}`],
    ['a chunk extension', `1;${'x'.repeat(100_000)}`],
  ])('that comes to no end in %s is refused, and its origin sees no whole request', async (_, body) => {
    let whole = false;
    await using origin = await listen(
      createHttp((request) => request.on('end', () => (whole = true)).resume()),
    );
    await using world = await startWorld([rule('a.test', [origin.port])]);
    const head = `POST http://a.test:${origin.port}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`;
    await rawClient(world.proxyPort, head + body).end();
    await world.fact('connection-failed');
    expect(whole).toBe(false);
  });

  test('with all that may be under way is told so, and there is room again', async () => {
    await using origin = await listen(tcpServer(() => {}));
    await using world = await startWorld([rule('a.test', [origin.port])], { limits: { underWay: 2 } });
    const connect = () =>
      rawClient(world.proxyPort, `CONNECT a.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const [first, second] = [connect(), connect()];
    await Promise.all([first.until(/200/), second.until(/200/)]);
    expect(await connect().end()).toMatch(/^HTTP\/1.1 429 .*too_many_connections/s);
    first.socket.resetAndDestroy();
    await world.fact('connection-closed');
    const third = connect();
    await third.until(/200/);
    third.socket.destroy();
    second.socket.destroy();
  });
});

test('an origin whose certificate names more than a record takes is refused, and the record of that is taken', async () => {
  const names = Array.from({ length: 100 }, (_, index) => `n${index}.${`${'x'.repeat(60)}.`.repeat(3)}test`);
  using other = makeCertificate(...names);
  await using it = await inspected('protocol: rest, rules: [{allow: {method: GET, path: "/**"}}]', {
    raw: () => createHttps({ key: other.key, cert: other.cert }),
    roots: [other.cert],
  });
  await it.fetch(`${it.base}/`);
  expect(await it.world.fact('connection-failed')).toMatchObject({
    detail: expect.stringContaining('altnames'),
  });
  for (const fact of it.world.facts) {
    const message: unknown = JSON.parse(JSON.stringify({ type: 'fact', fact }));
    expect(() => parseToProcessRole(message)).not.toThrow();
  }
});
