import { createHash, randomBytes } from 'node:crypto';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CLOSED_PORT } from '../ports.ts';
import {
  type Certificate,
  curl,
  listen,
  makeCertificate,
  rawClient,
  rule,
  startWorld,
  tcpServer,
} from './egress-world.ts';

let certificate: Certificate;
beforeAll(() => {
  certificate = makeCertificate('allowed.test', 'other.test');
});
afterAll(() => certificate[Symbol.dispose]());

const hello = () =>
  createHttps({ key: certificate.key, cert: certificate.cert }, (_request, response) =>
    response.end('hello'),
  );

describe('CONNECT', () => {
  test('curl reaches an allowed origin, and the record tells it from opening to close', async () => {
    await using origin = await listen(hello());
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const result = await curl(world, '--cacert', certificate.path, `https://allowed.test:${origin.port}/`);
    expect(result.stdout.toString(), result.stderr).toBe('hello');
    const allowed = await world.fact('connection-allowed');
    expect(allowed).toMatchObject({
      rule: 'rule-allowed.test',
      address: '127.0.0.1',
      identity: { executable: '/usr/bin/curl' },
    });
    expect(allowed.intent).toMatchObject({ adapter: 'connect', host: 'allowed.test', port: origin.port });
    const closed = await world.fact('connection-closed');
    expect(closed.intent.connectionId).toBe(allowed.intent.connectionId);
    expect(closed.bytesIn).toBeGreaterThan(500);
    expect(closed.bytesOut).toBeGreaterThan(200);
  });

  test.each([
    ['a host nobody listed', 'forbidden.test', 443, 'host_not_listed'],
    ['a port that is not listed', 'allowed.test', 444, 'port_not_listed'],
  ])('%s is refused with 403 and the missing rule', async (_name, host, port, reason) => {
    await using world = await startWorld([rule('allowed.test', [443])]);
    const client = rawClient(
      world.proxyPort,
      `CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`,
    );
    const [head = '', body = ''] = (await client.end()).split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 403 Forbidden\r\nContent-Type: application\/json\r\n/);
    expect(head).toContain('Connection: close');
    expect(JSON.parse(body)).toMatchObject({
      error: 'policy_denied',
      reason,
      rule_missing: { host, port, binary: '/usr/bin/curl' },
    });
    expect(await world.fact('connection-denied')).toMatchObject({ reason, intent: { host, port } });
  });

  test('curl shows the refusal', async () => {
    await using world = await startWorld([]);
    const result = await curl(world, 'https://forbidden.test/');
    expect(result.code).toBe(56);
    expect(result.stderr).toContain('403');
  });

  test.each([
    ['no port', 'allowed.test'],
    ['port 0', 'allowed.test:0'],
    ['port 65536', 'allowed.test:65536'],
    ['user information', 'allowed.test@other.test:443'],
    ['an address in another notation', '0x7f.1:443'],
    ['an unbracketed IPv6 address', '::1:443'],
    ['an absolute target', 'http://allowed.test:443'],
  ])('a malformed authority is answered 400: %s', async (_name, authority) => {
    await using world = await startWorld([rule('allowed.test', [443])]);
    const client = rawClient(world.proxyPort, `CONNECT ${authority} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(await client.end()).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(world.facts.map(({ kind }) => kind)).toEqual(['connection-failed']);
  });

  test('early data after the head reaches the origin', async () => {
    await using origin = await listen(tcpServer((socket) => socket.pipe(socket)));
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const authority = `allowed.test:${origin.port}`;
    const client = rawClient(
      world.proxyPort,
      `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\nearly`,
    );
    client.socket.end(' and late');
    expect(await client.end()).toBe('HTTP/1.1 200 Connection Established\r\n\r\nearly and late');
  });

  test('a server may speak first, and a half-closed client still hears the end', async () => {
    const server = tcpServer((socket) => {
      socket.write('220 ready\r\n');
      let heard = '';
      socket.on('data', (chunk) => {
        heard += chunk;
      });
      socket.on('end', () => socket.end(`you said ${heard}`));
    });
    await using origin = await listen(server);
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const authority = `allowed.test:${origin.port}`;
    const client = rawClient(world.proxyPort, `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    await client.until(/220 ready/);
    client.socket.end('QUIT');
    expect(await client.end()).toMatch(/you said QUIT$/);
    expect(await world.fact('connection-closed')).toMatchObject({ bytesOut: 4, bytesIn: 11 + 13 });
  });

  test('50 MB arrive byte by byte as they were sent, both ways', async () => {
    const payload = randomBytes(50 * 1024 * 1024);
    const digest = createHash('sha256').update(payload).digest('hex');
    await using origin = await listen(tcpServer((socket) => socket.pipe(socket)));
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const authority = `allowed.test:${origin.port}`;
    const client = rawClient(world.proxyPort, `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    await client.until(/\r\n\r\n/);
    client.socket.removeAllListeners('data').setEncoding('binary');
    const hash = createHash('sha256');
    client.socket.on('data', (text) => hash.update(String(text), 'latin1'));
    client.socket.end(payload);
    await client.end();
    expect(hash.digest('hex')).toBe(digest);
    expect(await world.fact('connection-closed')).toMatchObject({
      bytesOut: payload.length,
      bytesIn: payload.length,
    });
  });

  test('TLS for another name is cut off before a byte of it leaves, and recorded', async () => {
    let received = 0;
    await using origin = await listen(
      tcpServer((socket) => {
        socket.on('data', (chunk) => {
          received += chunk.length;
        });
      }),
    );
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const authority = `allowed.test:${origin.port}`;
    const client = rawClient(world.proxyPort, `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    await client.until(/\r\n\r\n/);
    const { promise, resolve } = Promise.withResolvers<string>();
    connectTls({ socket: client.socket, servername: 'other.test' }).on('error', ({ message }) =>
      resolve(message),
    );
    expect(await promise).toContain('access denied');
    expect(await world.fact('connection-denied')).toMatchObject({ reason: 'name_mismatch' });
    expect(received).toBe(0);
  });

  test('an origin that cannot be reached, or resolved, is answered before the tunnel', async () => {
    const resolve = async (host: string) => {
      if (host === 'nowhere.test') throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
      return ['127.0.0.1'];
    };
    await using world = await startWorld([rule('*.up.test', [CLOSED_PORT]), rule('nowhere.test', [443])], {
      resolve,
    });
    const ask = (authority: string) =>
      rawClient(world.proxyPort, `CONNECT ${authority} HTTP/1.1\r\nHost: x\r\n\r\n`).end();
    expect(await ask(`a.up.test:${CLOSED_PORT}`)).toMatch(
      /^HTTP\/1\.1 502 [\s\S]*"error":"upstream_unreachable"/,
    );
    expect(await ask('nowhere.test:443')).toMatch(/^HTTP\/1\.1 502 [\s\S]*"error":"name_resolution_failed"/);
  });

  test('without identity nothing is opened', async () => {
    const identify = async () => ({ ok: false, reason: 'no process holds the connection' }) as const;
    await using world = await startWorld([rule('allowed.test', [443])], { identify });
    const client = rawClient(world.proxyPort, 'CONNECT allowed.test:443 HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await client.end()).toMatch(
      /"reason":"identity_unknown","detail":"[^}]*: no process holds the connection"/,
    );
    expect(await world.fact('connection-denied')).toMatchObject({
      identity: undefined,
      rule: 'rule-allowed.test',
    });
  });

  test('the real check refuses loopback', async () => {
    const { checkDestination } = await import('../../src/policy/destination.ts');
    await using world = await startWorld([rule('allowed.test', [443])], { check: checkDestination });
    const client = rawClient(world.proxyPort, 'CONNECT allowed.test:443 HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await client.end()).toMatch(/^HTTP\/1\.1 403 [\s\S]*"reason":"address_not_allowed"/);
  });
});

describe('absolute-form HTTP', () => {
  const echo = () =>
    createHttp((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk) => chunks.push(chunk));
      request.on('end', () => {
        const { method, url, headers, rawTrailers } = request;
        response.setHeader('X-Origin', 'yes');
        response.end(
          JSON.stringify({
            method,
            url,
            headers,
            rawTrailers,
            body: Buffer.concat(chunks).toString('latin1'),
          }),
        );
      });
    });

  test('curl reaches an allowed origin; hop-by-hop fields stay behind', async () => {
    await using origin = await listen(echo());
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const result = await curl(
      world,
      ...[
        '--include',
        '--header',
        'Connection: X-Mine',
        '--header',
        'X-Mine: 1',
        '--header',
        'Proxy-Authorization: secret',
      ],
      ...['--header', 'X-Kept: Ä', '--data', 'a=b', `http://allowed.test:${origin.port}/path?query=1`],
    );
    const [head = '', body = ''] = result.stdout.toString().split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*X-Origin: yes/);
    expect(head).toContain('Via: 1.1 castellan');
    const seen = JSON.parse(body);
    expect(seen).toMatchObject({ method: 'POST', url: '/path?query=1', body: 'a=b' });
    expect(seen.headers).toMatchObject({
      host: `allowed.test:${origin.port}`,
      'content-length': '3',
      via: '1.1 castellan',
    });
    expect(Object.keys(seen.headers)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(proxy-|x-mine$)/)]),
    );
    expect(await world.fact('connection-closed')).toMatchObject({
      httpStatus: 200,
      intent: { http: { method: 'POST', path: '/path' } },
    });
  });

  test('curl is refused a forbidden origin with 403 and a body for programs', async () => {
    await using world = await startWorld([rule('allowed.test', [80])]);
    const result = await curl(world, '--write-out', '\n%{http_code}', 'http://forbidden.test/');
    const [body = '', , code] = result.stdout.toString().split('\n');
    expect(code).toBe('403');
    expect(JSON.parse(body)).toMatchObject({
      error: 'policy_denied',
      reason: 'host_not_listed',
      host: 'forbidden.test',
      port: 80,
    });
  });

  test('a large upload that is refused still hears why', async () => {
    await using world = await startWorld([]);
    const head =
      'POST http://forbidden.test/ HTTP/1.1\r\nHost: forbidden.test\r\nContent-Length: 4000000\r\n\r\n';
    const client = rawClient(world.proxyPort, head);
    client.socket.write(Buffer.alloc(4_000_000, 'x'));
    const text = await client.end();
    expect(text).toMatch(/^HTTP\/1\.1 403 /);
    expect(text).not.toContain('<reset>');
  });

  test.each([
    [
      'https in absolute form',
      'GET https://allowed.test/ HTTP/1.1',
      /unsupported_proxy_scheme[\s\S]*CONNECT/,
    ],
    ['origin form', 'GET / HTTP/1.1', /proxy_request_expected[\s\S]*this is a proxy/],
    ['another scheme', 'GET ftp://allowed.test/ HTTP/1.1', /"error":"proxy_request_expected"/],
    ['user information', 'GET http://allowed.test@evil.test/ HTTP/1.1', /malformed_request/],
    ['an empty host', 'GET http:/// HTTP/1.1', /malformed_request/],
  ])('%s is answered 400', async (_name, line, expected) => {
    await using world = await startWorld([rule('allowed.test', [80])]);
    const text = await rawClient(world.proxyPort, `${line}\r\nHost: allowed.test\r\n\r\n`).end();
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toMatch(expected);
  });

  test('the target decides, not the Host header', async () => {
    await using world = await startWorld([rule('allowed.test', [80])]);
    const text = await rawClient(
      world.proxyPort,
      'GET http://forbidden.test/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n',
    ).end();
    expect(text).toMatch(/^HTTP\/1\.1 403 [\s\S]*"host":"forbidden\.test"/);
  });

  test('a connection that is kept alive is judged request by request', async () => {
    await using origin = await listen(echo());
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const get = (host: string) => `GET http://${host}:${origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\n`;
    const client = rawClient(world.proxyPort, get('allowed.test'));
    await client.until(/"body":""\}/);
    client.socket.write(get('forbidden.test'));
    expect(await client.end()).toMatch(/^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 403 /);
    const ids = world.facts.map((fact) => ('intent' in fact ? fact.intent.connectionId.split('.')[1] : ''));
    expect(ids).toEqual(['1', '1', '2']);
  });

  test('100-continue, chunked bodies and trailers pass', async () => {
    await using origin = await listen(echo());
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const head = `PUT http://allowed.test:${origin.port}/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const client = rawClient(world.proxyPort, head);
    await client.until(/^HTTP\/1\.1 100 Continue\r\n\r\n/);
    client.socket.write('3\r\nabc\r\n0\r\nX-Sum: 7\r\nAuthorization: no\r\n\r\n');
    const text = await client.until(/HTTP\/1\.1 200 OK[\s\S]*\}\r\n0\r\n|HTTP\/1\.1 200 OK[\s\S]*\}$/);
    expect(text).toContain('"body":"abc"');
    expect(text).toContain('"rawTrailers":["X-Sum","7"]');
    client.socket.destroy();
  });

  test('an offer of a WebSocket has to be in good form; one of h2c is left unanswered', async () => {
    await using origin = await listen(echo());
    await using world = await startWorld([rule('allowed.test', [origin.port])]);
    const ask = (upgrade: string) =>
      rawClient(
        world.proxyPort,
        `GET http://allowed.test:${origin.port}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: ${upgrade}\r\n\r\n`,
      ).end();
    expect(await ask('websocket')).toMatch(/^HTTP\/1\.1 400 [\s\S]*Sec-WebSocket-Version/);
    expect(await ask('h2c')).toMatch(/^HTTP\/1\.1 200 OK/);
  });
});
