import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Certificate,
  type EgressWorld,
  listen,
  makeCertificate,
  rawClient,
  rule,
  run,
  startWorld,
  tcpServer,
} from './egress-world.ts';
import { inspected } from './inspect-world.ts';

let certificate: Certificate;
beforeAll(() => {
  certificate = makeCertificate('allowed.test', 'other.test');
});
afterAll(() => certificate[Symbol.dispose]());

const hello = () =>
  createHttps({ key: certificate.key, cert: certificate.cert }, (_request, response) =>
    response.end('hello'),
  );
const http = () => createHttp(({ headers, url }, response) => response.end(`${headers.host} ${url}`));

/** The address the sandbox's DNS gives out, as the next connection's destination. */
async function dial(world: EgressWorld, name: string, port: number): Promise<string> {
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${world.egress.addresses.dnsUdp[0]?.port}`]);
  const [address = ''] = await resolver.resolve4(name);
  world.dialled = { address, port };
  return address;
}

test('TLS goes where its server name says, whatever address was dialled', async () => {
  await using origin = await listen(hello());
  await using world = await startWorld([rule('allowed.test', [origin.port])]);
  world.dialled = { address: '203.0.113.7', port: origin.port };
  const map = `allowed.test:${origin.port}:127.0.0.1:${world.transparentPort}`;
  const result = await run('curl', [
    ...['--silent', '--show-error', '--noproxy', '*', '--connect-to', map, '--cacert', certificate.path],
    `https://allowed.test:${origin.port}/`,
  ]);
  expect(result.stdout.toString(), result.stderr).toBe('hello');
  const { intent } = await world.fact('connection-allowed');
  expect(intent).toMatchObject({ adapter: 'transparent-tls', host: 'allowed.test', port: origin.port });
  expect(intent.flow).toMatchObject({
    remoteAddress: '203.0.113.7',
    remotePort: origin.port,
    localAddress: '127.0.0.1',
  });
});

test('TLS for a forbidden name hears that access is denied', async () => {
  await using world = await startWorld([rule('allowed.test', [443])]);
  world.dialled = { address: '203.0.113.7', port: 443 };
  const { promise, resolve } = Promise.withResolvers<string>();
  connectTls({ port: world.transparentPort, host: '127.0.0.1', servername: 'forbidden.test' }).on(
    'error',
    ({ message }) => resolve(message),
  );
  expect(await promise).toContain('access denied');
  expect(await world.fact('connection-denied')).toMatchObject({
    reason: 'host_not_listed',
    intent: { host: 'forbidden.test' },
  });
});

test('TLS for another name than the one that was dialled is refused, though both are allowed', async () => {
  await using world = await startWorld([rule('allowed.test', [443]), rule('other.test', [443])]);
  await dial(world, 'allowed.test', 443);
  const { promise, resolve } = Promise.withResolvers<string>();
  connectTls({ port: world.transparentPort, host: '127.0.0.1', servername: 'other.test' }).on(
    'error',
    ({ message }) => resolve(message),
  );
  expect(await promise).toContain('access denied');
  expect(await world.fact('connection-denied')).toMatchObject({
    reason: 'name_mismatch',
    intent: { host: 'allowed.test' },
  });
});

test('TLS without a server name goes by the name that was dialled', async () => {
  await using origin = await listen(hello());
  await using world = await startWorld([rule('allowed.test', [origin.port])]);
  await dial(world, 'allowed.test', origin.port);
  const client = connectTls({
    port: world.transparentPort,
    host: '127.0.0.1',
    servername: '',
    ca: certificate.cert,
    checkServerIdentity: () => undefined,
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  client.on('error', reject).on('data', (chunk) => resolve(String(chunk)));
  client.write('GET / HTTP/1.0\r\n\r\n');
  expect(await promise).toMatch(/^HTTP\/1\.1 200 OK/);
  client.destroy();
  expect((await world.fact('connection-allowed')).intent).toMatchObject({
    adapter: 'transparent-tls',
    host: 'allowed.test',
  });
});

test('every request of one connection is judged by its own Host', async () => {
  await using origin = await listen(http());
  await using world = await startWorld([
    rule('allowed.test', [origin.port]),
    rule('second.test', [origin.port]),
  ]);
  world.dialled = { address: '203.0.113.7', port: origin.port };
  const get = (host: string) => `GET /${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  const client = rawClient(world.transparentPort, get('allowed.test'));
  await client.until(/\/allowed\.test/);
  client.socket.write(get(`second.test:${origin.port}`));
  await client.until(/\/second\.test/);
  client.socket.write(get('forbidden.test'));
  const text = await client.end();
  expect(text).toMatch(
    new RegExp(
      `allowed\\.test:${origin.port} /allowed[\\s\\S]*second\\.test:${origin.port} /second[\\s\\S]*HTTP/1\\.1 403 [\\s\\S]*forbidden`,
    ),
  );
  expect((await world.fact('connection-allowed')).intent.adapter).toBe('transparent-http');
});

test.each([
  ['another host', 'Host: other.test', /403 [\s\S]*name_mismatch/],
  ['another port', 'Host: allowed.test:1', /403 [\s\S]*name_mismatch/],
  ['a malformed host', 'Host: a b', /400 [\s\S]*malformed_request/],
  [
    'an absolute target for another host',
    'Host: allowed.test',
    /403 [\s\S]*name_mismatch/,
    'http://other.test/',
  ],
])('HTTP for %s than was dialled is refused', async (_name, field, expected, target = '/') => {
  await using world = await startWorld([rule('allowed.test', [80]), rule('other.test', [80])]);
  await dial(world, 'allowed.test', 80);
  const text = await rawClient(world.transparentPort, `GET ${target} HTTP/1.1\r\n${field}\r\n\r\n`).end();
  expect(text).toMatch(expected);
});

test('CONNECT is no way through the transparent listener', async () => {
  await using world = await startWorld([rule('allowed.test', [80])]);
  await dial(world, 'allowed.test', 80);
  const text = await rawClient(
    world.transparentPort,
    'CONNECT allowed.test:80 HTTP/1.1\r\nHost: allowed.test\r\n\r\n',
  ).end();
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
});

test('a server that speaks first is heard', async () => {
  await using origin = await listen(tcpServer((socket) => socket.end('220 ready\r\n')));
  await using world = await startWorld([rule('allowed.test', [origin.port], 'tcp')], {
    limits: { openingNamedMs: 20 },
  });
  await dial(world, 'allowed.test', origin.port);
  const client = rawClient(world.transparentPort);
  expect(await client.end()).toBe('220 ready\r\n');
  expect((await world.fact('connection-allowed')).intent).toMatchObject({
    adapter: 'transparent-dns',
    host: 'allowed.test',
  });
});

test('a client that hesitates and then speaks HTTP is still judged request by request', async () => {
  const { promise: dialled, resolve } = Promise.withResolvers<void>();
  const server = http();
  server.once('connection', () => resolve());
  await using origin = await listen(server);
  await using world = await startWorld([rule('allowed.test', [origin.port])], {
    limits: { openingNamedMs: 20 },
  });
  await dial(world, 'allowed.test', origin.port);
  const client = rawClient(world.transparentPort);
  await dialled;
  client.socket.write('GET /one HTTP/1.1\r\nHost: allowed.test\r\n\r\n');
  await client.until(/\/one/);
  client.socket.write('GET /two HTTP/1.1\r\nHost: other.test\r\n\r\n');
  expect(await client.end()).toMatch(/HTTP\/1\.1 403 [\s\S]*name_mismatch/);
});

test('a client that hesitates is waited for where its requests are inspected', async () => {
  await using it = await inspected('protocol: rest, access: read-only', { limits: { openingNamedMs: 20 } });
  await dial(it.world, 'api.test', it.port);
  const client = rawClient(it.world.transparentPort);
  expect((await it.world.fact('connection-allowed')).intent).toMatchObject({ host: 'api.test' });
  const ca = it.world.egress.authority ?? '';
  const secure = connectTls({ socket: client.socket, servername: 'api.test', ca });
  await once(secure, 'secureConnect');
  secure.write(`GET /v1 HTTP/1.1\r\nHost: api.test:${it.port}\r\n\r\n`);
  expect(String(await once(secure, 'data'))).toMatch(/^HTTP\/1\.1 200 /);
  secure.destroy();
});

test('a client that hesitates and then speaks TLS for another name is refused', async () => {
  const { promise: dialled, resolve: connected } = Promise.withResolvers<void>();
  let received = 0;
  await using origin = await listen(
    tcpServer((socket) => {
      connected();
      socket.on('data', (chunk) => {
        received += chunk.length;
      });
    }),
  );
  await using world = await startWorld([rule('allowed.test', [origin.port])], {
    limits: { openingNamedMs: 20 },
  });
  await dial(world, 'allowed.test', origin.port);
  const client = rawClient(world.transparentPort);
  await dialled;
  const { promise, resolve } = Promise.withResolvers<string>();
  connectTls({ socket: client.socket, servername: 'other.test' }).on('error', ({ message }) =>
    resolve(message),
  );
  expect(await promise).toContain('access denied');
  expect(await world.fact('connection-denied')).toMatchObject({ reason: 'name_mismatch' });
  expect(received).toBe(0);
});

test.each([
  ['a bare address nobody listed', '203.0.113.7', Buffer.from([0, 1, 2]), 'host_not_listed'],
  [
    'a synthetic address that was never given out',
    '198.18.200.200',
    Buffer.from([0, 1, 2]),
    'destination_unknown',
  ],
  ['half a ClientHello', '203.0.113.7', Buffer.from([22, 3, 1, 1, 0, 1, 0]), 'destination_unknown'],
])('%s is refused without a reset', async (_name, address, bytes, reason) => {
  await using world = await startWorld([rule('allowed.test', [443])], { limits: { openingCompleteMs: 50 } });
  world.dialled = { address, port: 443 };
  const client = rawClient(world.transparentPort, bytes);
  expect(await client.end()).not.toContain('<reset>');
  expect(await world.fact('connection-denied')).toMatchObject({ reason, intent: { host: address } });
});

test('a bare address that the policy lists is reached as such', async () => {
  await using origin = await listen(tcpServer((socket) => socket.pipe(socket)));
  await using world = await startWorld([rule('127.0.0.1', [origin.port])]);
  world.dialled = { address: '127.0.0.1', port: origin.port };
  const client = rawClient(world.transparentPort, '*1\r\n');
  expect(await client.until(/\*1/)).toBe('*1\r\n');
  client.socket.destroy();
});
