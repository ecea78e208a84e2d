/** Clients that send a byte now and then, or stop in the middle, at every place where one is waited for: each is ended by its deadline. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectTls } from 'node:tls';
import { describe, expect, test } from 'vitest';
import type { EgressLimits } from '../../src/egress/limits.ts';
import {
  type EgressWorld,
  listen,
  type RawClient,
  rawClient,
  rule,
  startWorld,
  tcpServer,
} from './egress-world.ts';
import { inspected, tunnel } from './inspect-world.ts';

/** Of each wait, far below what a test may last. */
const SHORT: Partial<EgressLimits> = {
  headMs: 500,
  headCheckMs: 50,
  keepAliveMs: 300,
  requestIdleMs: 300,
  openingNamedMs: 100,
  openingUnnamedMs: 200,
  openingCompleteMs: 300,
  handshakeMs: 300,
  bodyMs: 300,
  dnsIdleMs: 300,
  lingerMs: 100,
};
/** For clients whose TLS has to come about first, on a loaded machine too. */
const AFTER_TLS = { ...SHORT, openingUnnamedMs: 10_000, openingCompleteMs: 10_000, handshakeMs: 10_000 };
/** Often enough that no idle time-out ever runs out. */
const DRIP_MS = 20;

/** Sends the text byte by byte, its last byte over and over, until the connection ends; gives what came. */
async function drip(client: RawClient, text: string | Buffer): Promise<string> {
  const bytes = Buffer.from(text);
  let at = 0;
  const timer = setInterval(() => {
    if (client.socket.writable) client.socket.write(bytes.subarray(at, at + 1));
    at = Math.min(at + 1, bytes.length - 1);
  }, DRIP_MS);
  try {
    return await client.end();
  } finally {
    clearInterval(timer);
  }
}

const HEAD = 'GET http://allowed.test/ HTTP/1.1\r\nHost: x\r\nX: aaaa';
const TIMED_OUT = /^HTTP\/1\.1 408 [\s\S]*"error":"request_timeout"/;
/** A fatal alert: access denied. */
const ALERT = new RegExp(`${Buffer.from('15030100020231', 'hex').toString('latin1')}(?:<reset>)?$`);
/** The beginning of a ClientHello of 512 bytes, without end. */
const HELLO = Buffer.concat([
  Buffer.from('16030102000100', 'hex'),
  Buffer.from('01fc0303', 'hex'),
  Buffer.alloc(20, 7),
]);

const JSON_RPC = 'protocol: json-rpc, rules: [{allow: {method: read}}]';

interface Case {
  readonly name: string;
  readonly port: (world: EgressWorld) => number;
  /** Before the slow part. */
  readonly first?: (world: EgressWorld, origin: number) => readonly [text: string, answer: RegExp];
  /** Undefined sends nothing; `stops` says it and no more. */
  readonly slow?: string | Buffer;
  readonly stops?: string | Buffer;
  readonly answer: RegExp;
}

const proxy = (world: EgressWorld) => world.proxyPort;
const transparent = (world: EgressWorld) => world.transparentPort;
const dns = (world: EgressWorld) => world.egress.addresses.dnsTcp[0]?.port ?? 0;
const connected = (_world: EgressWorld, origin: number) =>
  [`CONNECT allowed.test:${origin} HTTP/1.1\r\nHost: x\r\n\r\n`, /200[\s\S]*\r\n\r\n/] as const;
const established = /^HTTP\/1\.1 200 [^\r]*\r\n\r\n/;

// biome-ignore format: one line a case
const CASES: readonly Case[] = [
  { name: 'the proxy: nothing at all', port: proxy, answer: TIMED_OUT },
  { name: 'the proxy: a head byte by byte', port: proxy, slow: HEAD, answer: TIMED_OUT },
  { name: 'the proxy: a method byte by byte', port: proxy, slow: 'GETTTTT', answer: /^HTTP\/1\.1 40[08] / },
  { name: 'the proxy: half a head, then nothing', port: proxy, stops: HEAD, answer: TIMED_OUT },
  { name: 'the proxy: CONNECT byte by byte', port: proxy, slow: HEAD.replace('GET', 'CONNECT'), answer: TIMED_OUT },
  { name: 'a tunnel: TLS hello byte by byte', port: proxy, first: connected, slow: HELLO, answer: ALERT },
  { name: 'a tunnel: half a TLS hello, then nothing', port: proxy, first: connected, stops: HELLO, answer: ALERT },
  { name: 'redirected: nothing at all', port: transparent, answer: /^(?:<reset>)?$/ },
  { name: 'redirected: TLS hello byte by byte', port: transparent, slow: HELLO, answer: ALERT },
  { name: 'redirected: half a TLS hello, then nothing', port: transparent, stops: HELLO, answer: ALERT },
  { name: 'redirected: a head byte by byte', port: transparent, slow: 'GET / HTTP/1.1\r\nHost: allowed.test\r\nX: aaaa', answer: TIMED_OUT },
  { name: 'redirected: a method byte by byte', port: transparent, slow: 'GE', answer: /^(?:<reset>)?$/ },
  { name: 'DNS over TCP: nothing at all', port: dns, answer: /^(?:<reset>)?$/ },
  { name: 'DNS over TCP: a query byte by byte', port: dns, slow: Buffer.concat([Buffer.from([15, 0]), Buffer.alloc(20, 7)]), answer: /^(?:<reset>)?$/ },
  { name: 'DNS over TCP: a length, then nothing', port: dns, stops: Buffer.from([0, 40]), answer: /^(?:<reset>)?$/ },
];

describe('ended', () => {
  test.each(CASES)('$name', async ({ port, first, slow, stops, answer }) => {
    await using origin = await listen(tcpServer(() => {}));
    await using world = await startWorld([rule('allowed.test', [origin.port])], { limits: SHORT });
    world.dialled = { address: '203.0.113.7', port: origin.port };
    const client = rawClient(port(world));
    const [text, expected] = first?.(world, origin.port) ?? [];
    if (text !== undefined && expected !== undefined) {
      client.socket.write(text);
      await client.until(expected);
    }
    if (stops !== undefined) client.socket.write(stops);
    const received = slow === undefined ? await client.end() : await drip(client, slow);
    expect(received.replace(established, '')).toMatch(answer);
  });

  test.each([
    ['the proxy', proxy, HEAD, /^HTTP\/1\.1 400 /],
    ['the transparent listener', transparent, '', /^(?:<reset>)?$/],
    ['the transparent listener, in a TLS hello', transparent, HELLO, ALERT],
    ['DNS over TCP', dns, Buffer.from([0, 40, 1]), /^$/],
  ])('half-open at %s', async (_, port, text, answer) => {
    await using world = await startWorld([rule('allowed.test', [443])], { limits: SHORT });
    const client = rawClient(port(world));
    client.socket.end(text);
    expect(await client.end()).toMatch(answer);
  });
});

describe('bodies', () => {
  test('one that goes on, however slowly, is the origin’s to wait for; one that stops is ended', async () => {
    let heard = 0;
    const enough = Promise.withResolvers<void>();
    const server = createServer((request) =>
      request.on('data', () => {
        heard += 1;
        // More than the time of each limit.
        if (heard === 100) enough.resolve();
      }),
    );
    await using origin = await listen(server);
    await using world = await startWorld([rule('allowed.test', [origin.port])], {
      // Far above what a loaded machine may take between two bytes.
      limits: { ...SHORT, requestIdleMs: 1500 },
    });
    const head = `POST http://allowed.test:${origin.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n`;
    const client = rawClient(world.proxyPort, head);
    const timer = setInterval(() => client.socket.write('x'), DRIP_MS);
    await enough.promise;
    clearInterval(timer);
    expect(client.text()).toBe('');
    expect(await client.end()).toMatch(/^HTTP\/1\.1 504 [\s\S]*upstream_timeout/);
  });

  test('one that is judged as a whole has a time to be there', async () => {
    await using it = await inspected(JSON_RPC, { limits: AFTER_TLS });
    const secure = await tunnel(it.world, it.port, 'http/1.1');
    const ended = once(secure.setEncoding('latin1'), 'close');
    let answer = '';
    secure.on('data', (text: string) => {
      answer += text;
    });
    secure.write(
      'POST /rpc HTTP/1.1\r\nHost: api.test:PORT\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n'.replace(
        'PORT',
        String(it.port),
      ),
    );
    const timer = setInterval(() => secure.write(' '), DRIP_MS);
    await ended;
    clearInterval(timer);
    expect(answer).toMatch(/^HTTP\/1\.1 403 [\s\S]*request_unreadable/);
    expect(it.heard.requests).toEqual([]);
  });
});

describe('where TLS is opened', () => {
  test.each([
    ['silence', undefined, ALERT],
    ['half a TLS hello', HELLO, ALERT],
    ['a TLS hello, and nothing more', 'hello', /^[\s\S]+$/],
  ])('%s', async (_, bytes, answer) => {
    await using it = await inspected(JSON_RPC, { limits: SHORT });
    const client = rawClient(it.world.proxyPort, `CONNECT api.test:${it.port} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.until(established);
    if (bytes !== undefined) client.socket.write(bytes === 'hello' ? await clientHello() : bytes);
    expect((await client.end()).replace(established, '')).toMatch(answer);
  });

  test.each(['h2', 'http/1.1'] as const)('%s without a request', async (protocol) => {
    await using it = await inspected(JSON_RPC, { limits: AFTER_TLS });
    const secure = await tunnel(it.world, it.port, protocol);
    await once(secure.resume(), 'close');
  });

  test('a preface of HTTP/2 byte by byte', async () => {
    await using it = await inspected(JSON_RPC, { limits: AFTER_TLS });
    const secure = await tunnel(it.world, it.port, 'h2');
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
    const closed = once(secure.resume(), 'close');
    let at = 0;
    const timer = setInterval(() => secure.writable && secure.write(preface.charAt(at++) || '\0'), DRIP_MS);
    await closed;
    clearInterval(timer);
  });
});

describe('HTTP/2 that keeps talking without a request', () => {
  const frame = (length: number, type: number, flags: number, stream: number) =>
    Buffer.from([0, length >> 8, length & 255, type, flags, 0, 0, 0, stream]);
  const opening = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(0, 4, 0, 0)]);

  test.each([
    // HEADERS without END_HEADERS, and a CONTINUATION that never ends.
    [
      'a head that does not end',
      Buffer.concat([frame(1, 1, 0, 1), Buffer.from([0x82]), frame(9999, 9, 0, 1)]),
      Buffer.from([0]),
    ],
    ['pings', Buffer.alloc(0), Buffer.concat([frame(8, 6, 0, 0), Buffer.alloc(8)])],
  ])('%s', async (_, first, again) => {
    await using it = await inspected(JSON_RPC, { limits: AFTER_TLS });
    const secure = await tunnel(it.world, it.port, 'h2');
    const closed = once(secure.resume(), 'close');
    secure.write(Buffer.concat([opening, first]));
    const timer = setInterval(() => secure.writable && secure.write(again), DRIP_MS);
    await closed;
    clearInterval(timer);
  });
});

/** What a client of TLS says first. */
async function clientHello(): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  await using server = await listen(tcpServer((socket) => socket.once('data', resolve)));
  const client = connectTls({ port: server.port, host: '127.0.0.1', servername: 'api.test' });
  client.on('error', () => {});
  const bytes = await promise;
  client.destroy();
  return bytes;
}
