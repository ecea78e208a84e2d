/** Through the operator's proxy: every kind of connection, and proxies that refuse, stall or lie. */

import { createServer } from 'node:http';
import { connect } from 'node:net';
import { createServer as createTls } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { CLOSED_PORT } from '../ports.ts';
import { curl, listen, makeCertificate, rawClient, rule, startWorld, tcpServer } from './egress-world.ts';
import { inspected } from './inspect-world.ts';
import { type Answer, fakeProxy, honest, upstreamProxy } from './upstream-proxy-world.ts';

const REST = 'protocol: rest, access: full';
const CONNECT = (port: number) => `CONNECT a.test:${port} HTTP/1.1\r\nHost: x\r\n\r\n`;
const say = (text: string) => (): Answer => (socket) => void socket.write(text, 'latin1');

/** A server that speaks first, and then repeats. */
const greeter = () =>
  listen(
    tcpServer((socket) => {
      socket.write('220 ready\n');
      socket.pipe(socket);
    }),
  );

describe('every kind of connection', () => {
  test('a tunnel, by the address that was checked; what the origin says first is there', async () => {
    await using origin = await greeter();
    await using proxy = await fakeProxy(honest);
    await using world = await startWorld([rule('a.test', [origin.port])], upstreamProxy(proxy.port));
    const client = rawClient(world.proxyPort, CONNECT(origin.port));
    await client.until(/220 ready\n/);
    client.socket.write('hello');
    await client.until(/hello/);
    client.socket.end();
    expect(await client.end()).toMatch(/^HTTP\/1.1 200 [^\n]*\r\n\r\n220 ready\nhello$/);
    expect(proxy.heads).toEqual([
      `CONNECT 127.0.0.1:${origin.port} HTTP/1.1\r\nHost: 127.0.0.1:${origin.port}\r\nConnection: keep-alive\r\n\r\n`,
    ]);
    expect(await world.fact('connection-allowed')).toMatchObject({
      address: '127.0.0.1',
      proxy: { host: '127.0.0.1', port: proxy.port },
    });
  });

  test('a redirected one', async () => {
    await using origin = await greeter();
    await using proxy = await fakeProxy(honest);
    const raw = { ...rule('192.0.2.7', [origin.port]) };
    await using world = await startWorld([raw], {
      ...upstreamProxy(proxy.port),
      originalDestination: () => ({ address: '192.0.2.7', port: origin.port }),
      limits: { openingUnnamedMs: 50 },
    });
    const client = rawClient(world.transparentPort);
    await client.until(/220 ready\n/);
    client.socket.destroy();
    expect(proxy.heads[0]).toContain(`CONNECT 192.0.2.7:${origin.port} `);
  });

  test('plain HTTP, by CONNECT too', async () => {
    await using origin = await listen(createServer((request, response) => response.end(`${request.url}\n`)));
    await using proxy = await fakeProxy(honest);
    await using world = await startWorld([rule('a.test', [origin.port])], upstreamProxy(proxy.port));
    const { stdout } = await curl(
      world,
      `http://a.test:${origin.port}/x`,
      '-H',
      'Proxy-Authorization: Basic eA==',
    );
    expect(stdout.toString()).toBe('/x\n');
    expect(proxy.heads).toEqual([expect.not.stringContaining('Authorization')]);
  });

  test.each(['1.1', '2'] as const)('requests inside opened TLS, in HTTP/%s', async (version) => {
    await using proxy = await fakeProxy(honest);
    await using it = await inspected(REST, {
      ...upstreamProxy(proxy.port),
      client: version,
      server: version,
    });
    const { stdout } = await it.fetch(`${it.base}/a`, `${it.base}/b`);
    expect(stdout.toString()).toMatch(/\/a \n.*\/b \n/s);
    expect(proxy.heads).toHaveLength(1);
  });

  test('by name where the operator says so: then the record tells no address', async () => {
    await using origin = await greeter();
    await using proxy = await fakeProxy(honest);
    const resolve = async () => ['192.0.2.1', '192.0.2.2'];
    await using world = await startWorld([rule('a.test', [origin.port])], {
      ...upstreamProxy(proxy.port, { byHostName: true }),
      resolve,
    });
    const client = rawClient(world.proxyPort, CONNECT(origin.port));
    await client.until(/220 ready\n/);
    client.socket.destroy();
    expect(proxy.heads).toEqual([expect.stringContaining(`CONNECT a.test:${origin.port} `)]);
    expect(await world.fact('connection-allowed')).toMatchObject({ address: undefined });
    expect(await world.fact('connection-closed')).toMatchObject({ address: undefined });
  });

  test.each([[10], [0]])(
    'what was said to the proxy is not counted (%i bytes come with its answer)',
    async (early) => {
      await using origin = await listen(tcpServer((socket) => socket.pipe(socket)));
      await using proxy = await listen(
        tcpServer((socket) =>
          socket.once('data', () => {
            const far = connect(origin.port, '127.0.0.1');
            socket.write(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(1000)}\r\n\r\n${'g'.repeat(early)}`);
            socket.pipe(far).pipe(socket);
          }),
        ),
      );
      await using world = await startWorld([rule('a.test', [origin.port], 'tcp')], {
        ...upstreamProxy(proxy.port, { credentials: 'user:password' }),
      });
      const client = rawClient(world.proxyPort, CONNECT(origin.port));
      await client.until(/200/);
      client.socket.write('hello');
      await client.until(/hello/);
      client.socket.end();
      expect(await world.fact('connection-closed')).toMatchObject({ bytesOut: 5, bytesIn: 5 + early });
    },
  );

  test('over TLS to a proxy that proves its name, with a password', async () => {
    await using origin = await greeter();
    using certificate = makeCertificate('localhost');
    await using proxy = await fakeProxy(honest, certificate);
    await using world = await startWorld([rule('a.test', [origin.port])], {
      ...upstreamProxy(proxy.port, { scheme: 'https', host: 'localhost', credentials: 'user:pässword' }),
      roots: [certificate.cert],
    });
    const client = rawClient(world.proxyPort, CONNECT(origin.port));
    await client.until(/220 ready\n/);
    client.socket.resetAndDestroy();
    const basic = Buffer.from('user:pässword').toString('base64');
    expect(proxy.heads).toEqual([expect.stringContaining(`Proxy-Authorization: Basic ${basic}\r\n`)]);
    expect(JSON.stringify(await world.fact('connection-closed'))).not.toContain(basic);
  });

  test('a raw tunnel in that TLS carries what both sides say: the kernel cannot move it', async () => {
    await using echo = await listen(tcpServer((socket) => socket.pipe(socket)));
    using certificate = makeCertificate('localhost');
    await using proxy = await fakeProxy(honest, certificate);
    await using world = await startWorld([rule('a.test', [echo.port], 'tcp')], {
      ...upstreamProxy(proxy.port, { scheme: 'https', host: 'localhost' }),
      roots: [certificate.cert],
    });
    const client = rawClient(world.proxyPort, CONNECT(echo.port));
    await client.until(/200/);
    client.socket.write(`${'x'.repeat(200_000)}end`);
    await client.until(/xend/);
    client.socket.end();
    // As many as TLS makes of them.
    const { bytesIn, bytesOut } = await world.fact('connection-closed');
    for (const bytes of [bytesIn, bytesOut]) expect(bytes).toBeGreaterThanOrEqual(200_003);
  });

  test('TLS inside TLS', async () => {
    using certificate = makeCertificate('localhost', 'api.test');
    await using proxy = await fakeProxy(honest, certificate);
    const options = upstreamProxy(proxy.port, { scheme: 'https', host: 'localhost' });
    await using world = await inspected(REST, { ...options, roots: [certificate.cert] });
    const { stdout } = await world.fetch(`${world.base}/a`, '-d', 'x'.repeat(100_000));
    expect(stdout.length).toBeGreaterThan(100_000);
  });

  test('nothing is sent to a proxy that proves another name', async () => {
    using certificate = makeCertificate('elsewhere');
    await using proxy = await fakeProxy(honest, certificate);
    await using world = await startWorld([rule('a.test', [443])], {
      ...upstreamProxy(proxy.port, { scheme: 'https', host: 'localhost', credentials: 'user:secret' }),
      roots: [certificate.cert],
    });
    const answer = await rawClient(world.proxyPort, CONNECT(443)).end();
    expect(answer).toMatch(/^HTTP\/1.1 502 .*upstream_proxy_failed.*not in the cert's altnames/s);
    expect(proxy.heads).toEqual([]);
  });

  test.each([
    ['its name', { kind: 'domain', value: 'a.test', port: undefined }, true],
    ['the name above', { kind: 'domain', value: 'test', port: undefined }, true],
    ['another name', { kind: 'domain', value: 'b.test', port: undefined }, false],
    ['what its name only ends in', { kind: 'domain', value: 'est', port: undefined }, false],
    ['names below', { kind: 'subdomains', value: 'a.test', port: undefined }, false],
    ['another port', { kind: 'domain', value: 'a.test', port: 1 }, false],
    ['its address', { kind: 'block', value: '127.0.0.0/8', port: undefined }, true],
    ['another address', { kind: 'block', value: '10.0.0.0/8', port: undefined }, false],
    ['everything', { kind: 'any', value: '', port: undefined }, true],
  ] as const)('an exception for %s', async (_, exception, isDirect) => {
    await using origin = await greeter();
    await using proxy = await fakeProxy(honest);
    await using world = await startWorld(
      [rule('a.test', [origin.port])],
      upstreamProxy(proxy.port, { exceptions: [exception] }),
    );
    const client = rawClient(world.proxyPort, CONNECT(origin.port));
    await client.until(/220 ready\n/);
    client.socket.destroy();
    expect(proxy.heads).toHaveLength(isDirect ? 0 : 1);
    expect('proxy' in (await world.fact('connection-allowed'))).toBe(!isDirect);
  });
});

describe('a proxy that', () => {
  const LIMITS = { upstreamProxyMs: 300, upstreamProxyStaggerMs: 10_000 };
  const dribble = (): Answer => (socket) => {
    const timer = setInterval(() => socket.write('x'), 20);
    socket.write('HTTP/1.1 200 OK\r\nX: ');
    socket.once('close', () => clearInterval(timer));
  };

  test.each<[string, () => Answer, number, string]>([
    ['refuses', say('HTTP/1.1 403 No\r\nContent-Length: 6\r\n\r\nSECRET'), 502, 'it answered 403 to CONNECT 127.0.0.1:443: it does not allow'],
    ['wants credentials', say('HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm="SECRET"\r\n\r\n'), 502, 'it answered 407.*upstream-proxy-auth-file'],
    ['has none for the destination', say('HTTP/1.1 502 Bad Gateway\r\n\r\nSECRET'), 502, 'it answered 502'],
    ['was too late itself', say('HTTP/1.1 504 Timeout\r\n\r\nSECRET'), 504, 'it answered 504'],
    ['redirects', say('HTTP/1.1 302 Found\r\nLocation: http://SECRET/\r\n\r\n'), 502, 'it answered 302'],
    ['gives an interim answer', say('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'), 502, 'it answered 100'],
    ['switches protocols', say('HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'), 502, 'it answered 101'],
    ['says nothing', () => () => {}, 504, 'no connection within 300 ms'],
    ['says half a head', say('HTTP/1.1 200 OK\r\nX: y'), 504, 'no connection within 300 ms'],
    ['dribbles', dribble, 504, 'no connection within 300 ms'],
    ['says too long a head', say(`HTTP/1.1 200 OK\r\nX: ${'y'.repeat(9000)}\r\n\r\n`), 502, 'Header overflow'],
    ['says garbage', say('SECRET\r\n\r\n'), 502, 'Parse Error'],
    ['speaks TLS', say('\x16\x03\x01\x02\x00'), 502, 'Parse Error'],
    ['speaks another HTTP', say('HTTP/3.0 200 OK\r\n\r\n'), 502, 'Parse Error'],
    ['folds a header', say('HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n'), 502, 'Parse Error'],
    ['closes', () => (socket) => void socket.end(), 502, 'ECONNRESET|hang up'],
    ['closes in the head', () => (socket) => void socket.end('HTTP/1.1 200 OK\r\nX'), 502, 'Parse Error|ECONNRESET|hang up'],
    ['breaks off', () => (socket) => void socket.resetAndDestroy(), 502, 'ECONNRESET|hang up'],
  ])('%s', async (_, answer, status, detail) => {
    await using proxy = await fakeProxy(answer());
    await using world = await startWorld([rule('a.test', [443])], {
      ...upstreamProxy(proxy.port, { credentials: 'user:PASSWORD' }),
      limits: LIMITS,
    });
    const text = await rawClient(world.proxyPort, CONNECT(443)).end();
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*"error":"upstream_proxy_failed"`));
    expect(text).toMatch(new RegExp(detail));
    const fact = await world.fact('connection-failed');
    for (const said of [text, JSON.stringify(fact)]) {
      expect(said).not.toContain('SECRET');
      expect(said).not.toContain(Buffer.from('user:PASSWORD').toString('base64'));
    }
  }); // biome-ignore format: a table

  test('is not there', async () => {
    await using world = await startWorld([rule('a.test', [443])], upstreamProxy(CLOSED_PORT));
    const text = await rawClient(world.proxyPort, CONNECT(443)).end();
    expect(text).toMatch(/^HTTP\/1.1 502 .*upstream_proxy_failed.*ECONNREFUSED/s);
  });

  test('tells its status to programs', async () => {
    await using proxy = await fakeProxy(say('HTTP/1.1 407 Who\r\n\r\n')());
    await using world = await startWorld([rule('a.test', [443])], upstreamProxy(proxy.port));
    const text = await rawClient(world.proxyPort, CONNECT(443)).end();
    expect(JSON.parse(text.slice(text.indexOf('{')))).toMatchObject({
      error: 'upstream_proxy_failed',
      proxy_status: 407,
      host: 'a.test',
      port: 443,
    });
  });

  test.each([
    ['without', ''],
    ['with a length, which means nothing after 200', 'Content-Length: 3\r\n'],
    ['with chunks, which mean nothing after 200', 'Transfer-Encoding: chunked\r\n'],
    ['that closes by its words', 'Connection: close\r\n'],
  ])('has the origin’s first bytes in its answer, %s', async (_, header) => {
    await using proxy = await fakeProxy((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${header}\r\n220 ready\n`);
      socket.on('data', (chunk) => socket.write(`<${chunk}>`));
      socket.on('end', () => socket.end());
    });
    await using world = await startWorld([rule('a.test', [443])], upstreamProxy(proxy.port));
    const client = rawClient(world.proxyPort, CONNECT(443));
    await client.until(/220 ready\n/);
    client.socket.end('hello');
    expect(await client.end()).toMatch(/\r\n\r\n220 ready\n<hello>$/);
  });

  test('fails for one address is asked for the next; one that wants credentials is not', async () => {
    const answers: Record<string, Answer> = {
      '192.0.2.1:443': say('HTTP/1.1 503 No\r\n\r\n')(),
      '192.0.2.2:443': say('HTTP/1.1 200 OK\r\n\r\n220 ready\n')(),
      '192.0.2.3:443': say('HTTP/1.1 407 Who\r\n\r\n')(),
    };
    await using proxy = await fakeProxy((socket, authority) => answers[authority]?.(socket, authority));
    const resolve = async (host: string) =>
      host === 'a.test' ? ['192.0.2.1', '192.0.2.2'] : ['192.0.2.3', '192.0.2.2'];
    await using world = await startWorld([rule('a.test', [443]), rule('b.test', [443])], {
      ...upstreamProxy(proxy.port),
      resolve,
    });
    await rawClient(world.proxyPort, CONNECT(443)).until(/220 ready/);
    const text = await rawClient(world.proxyPort, CONNECT(443).replace('a.', 'b.')).end();
    expect(text).toContain('it answered 407');
    expect(proxy.heads.map((head) => head.split(' ')[1])).toEqual([
      '192.0.2.1:443',
      '192.0.2.2:443',
      '192.0.2.3:443',
    ]);
  });

  test('hangs on one address is asked for the next beside it, and left when a client goes', async () => {
    let open = 0;
    await using proxy = await fakeProxy((socket, authority) => {
      open += 1;
      socket.once('close', () => --open).once('end', () => socket.destroy());
      if (authority.startsWith('192.0.2.2')) socket.write('HTTP/1.1 200 OK\r\n\r\n220 ready\n');
    });
    await using world = await startWorld([rule('a.test', [443])], {
      ...upstreamProxy(proxy.port),
      resolve: async () => ['192.0.2.1', '192.0.2.2'],
      limits: { upstreamProxyStaggerMs: 30 },
    });
    const client = rawClient(world.proxyPort, CONNECT(443));
    await client.until(/220 ready/);
    await expect.poll(() => open).toBe(1);
    client.socket.destroy();
    await expect.poll(() => open).toBe(0);
  });
});

test('a tunnel through a proxy that speaks TLS ends like any other when its client breaks off', async () => {
  using certificate = makeCertificate('localhost');
  await using silent = await listen(createTls({ key: certificate.key, cert: certificate.cert }, () => {}));
  await using proxy = await fakeProxy(honest, certificate);
  await using world = await startWorld([rule('a.test', [silent.port])], {
    ...upstreamProxy(proxy.port, { scheme: 'https', host: 'localhost' }),
    roots: [certificate.cert],
  });
  const client = rawClient(world.proxyPort, CONNECT(silent.port));
  await client.until(/200/);
  client.socket.resetAndDestroy();
  expect(await world.fact('connection-closed')).toMatchObject({ bytesOut: expect.any(Number) });
  expect(world.facts.filter(({ kind }) => kind === 'internal-error')).toEqual([]);
});
