/**
 * Requests that two servers may read in two ways. Whatever a client sends, what reaches the origin must be read alike by servers
 * of every habit, and hold nothing but what the policy allows.
 */
import { createServer as createTls, type TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { listen, rawClient, startWorld, tcpServer } from './egress-world.ts';
import { inspected, rules, tunnel } from './inspect-world.ts';
import { allReadings } from './request-readings.ts';

const POLICY = 'protocol: rest, rules: [{allow: {method: "*", path: "/v1/**"}}]';
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
const INNER = 'GET /v2/smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n';
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

/** Head lines after the request line and Host, and a body. */
const HTTP1: readonly (readonly [what: string, lines: readonly string[], body: string])[] = [
  ['both fields, length shorter', ['Content-Length: 4', 'Transfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
  ['both fields, coding first', ['Transfer-Encoding: chunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`],
  [
    'both fields, length longer',
    [`Content-Length: ${5 + INNER.length}`, 'Transfer-Encoding: chunked'],
    `0\r\n\r\n${INNER}`,
  ],
  ['two lengths', ['Content-Length: 0', `Content-Length: ${INNER.length}`], INNER],
  ['two lengths, the longer first', [`Content-Length: ${INNER.length}`, 'Content-Length: 0'], INNER],
  ['two equal lengths', ['Content-Length: 1', 'Content-Length: 1'], `x${INNER}`],
  ['a list of lengths', [`Content-Length: 0, ${INNER.length}`], INNER],
  ['a signed length', [`Content-Length: +${INNER.length}`], INNER],
  ['a negative length', ['Content-Length: -1'], INNER],
  ['a hexadecimal length', ['Content-Length: 0x0'], INNER],
  ['a length with a fraction', ['Content-Length: 0.0'], INNER],
  ['a length with an exponent', ['Content-Length: 1e2'], INNER],
  ['a length with letters', ['Content-Length: 0a'], INNER],
  ['a length with inner space', ['Content-Length: 1 0'], INNER],
  ['an empty length', ['Content-Length:'], INNER],
  ['a length beyond 64 bits', ['Content-Length: 18446744073709551616'], INNER],
  ['a length with a leading tab', [`Content-Length:\t0`], INNER],
  ['a length with vertical tab', ['Content-Length: \x0b0'], INNER],
  ['a length in another script', ['Content-Length: \u0661'], INNER],
  ['space before the colon of the length', ['Content-Length : 0'], INNER],
  ['an underscore in the length', [`Content_Length: ${INNER.length}`], INNER],
  ['space before the colon of the coding', ['Transfer-Encoding : chunked'], `0\r\n\r\n${INNER}`],
  ['tab before the colon of the coding', ['Transfer-Encoding\t: chunked'], `0\r\n\r\n${INNER}`],
  ['space before the coding', [' Transfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
  ['a folded coding', ['Transfer-Encoding:', ' chunked'], `0\r\n\r\n${INNER}`],
  ['a folded line before the coding', ['X: y', ' z', 'Transfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
  ['an underscore in the coding', ['Content-Length: 5', 'Transfer_Encoding: chunked'], `0\r\n\r\n${INNER}`],
  ['a quoted coding', ['Content-Length: 5', 'Transfer-Encoding: "chunked"'], `0\r\n\r\n${INNER}`],
  ['an unknown coding', ['Content-Length: 5', 'Transfer-Encoding: xchunked'], `0\r\n\r\n${INNER}`],
  [
    'identity and chunked',
    ['Transfer-Encoding: identity', 'Transfer-Encoding: chunked'],
    `0\r\n\r\n${INNER}`,
  ],
  [
    'chunked and identity',
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
    `0\r\n\r\n${INNER}`,
  ],
  ['a list that ends in chunked', ['Transfer-Encoding: gzip, chunked'], `0\r\n\r\n${INNER}`],
  ['a list that begins with chunked', ['Transfer-Encoding: chunked, gzip'], `0\r\n\r\n${INNER}`],
  ['chunked twice', ['Transfer-Encoding: chunked, chunked'], `0\r\n\r\n${INNER}`],
  ['chunked with a parameter', ['Transfer-Encoding: chunked;q=1'], `0\r\n\r\n${INNER}`],
  ['a coding with vertical tab', ['Transfer-Encoding: \x0bchunked'], `0\r\n\r\n${INNER}`],
  ['a coding with a null', ['Transfer-Encoding: chunked\0'], `0\r\n\r\n${INNER}`],
  ['a coding behind a bare CR', ['X: y\rTransfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
  ['a coding behind a bare LF', ['X: y\nTransfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
  ['an end of head in bare LF', ['X: y\n', 'Z: w'], INNER],
  ['a head that ends in CR CR LF', ['X: y\r'], INNER],
  ['an empty name', [': x', 'Transfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
  ['a name with a null', ['Transfer-Encoding\0: chunked'], `0\r\n\r\n${INNER}`],
  [
    'a coding that Connection names',
    ['Connection: transfer-encoding', 'Transfer-Encoding: chunked'],
    `0\r\n\r\n${INNER}`,
  ],
  [
    'a length that Connection names',
    ['Connection: content-length', `Content-Length: ${INNER.length}`],
    INNER,
  ],
  ['a chunk size with 0x', ['Transfer-Encoding: chunked'], `0x0\r\n\r\n${INNER}`],
  ['a chunk size with a sign', ['Transfer-Encoding: chunked'], `+0\r\n\r\n${INNER}`],
  [
    'a chunk size beyond 64 bits',
    ['Transfer-Encoding: chunked'],
    `10000000000000001\r\nx\r\n0\r\n\r\n${INNER}`,
  ],
  ['a chunk size with space', ['Transfer-Encoding: chunked'], `0 \r\n\r\n${INNER}`],
  ['a chunk line that ends in LF', ['Transfer-Encoding: chunked'], `0\n\n${INNER}`],
  ['a chunk that is shorter than it says', ['Transfer-Encoding: chunked'], `5\r\nx\r\n0\r\n\r\n${INNER}`],
  ['a chunk without CR LF behind it', ['Transfer-Encoding: chunked'], `1\r\nx0\r\n\r\n${INNER}`],
  ['an extension with LF', ['Transfer-Encoding: chunked'], `1;a\nb\r\nx\r\n0\r\n\r\n${INNER}`],
  ['an extension with CR', ['Transfer-Encoding: chunked'], `1;a\rb\r\nx\r\n0\r\n\r\n${INNER}`],
  [
    'a very long extension',
    ['Transfer-Encoding: chunked'],
    `1;${'a'.repeat(20_000)}\r\nx\r\n0\r\n\r\n${INNER}`,
  ],
  ['framing in trailers', ['Transfer-Encoding: chunked'], `0\r\nContent-Length: 5\r\n\r\n${INNER}`],
  ['a request in a chunk', ['Transfer-Encoding: chunked'], `${chunk(INNER)}0\r\n\r\n`],
  ['a request in a body', [`Content-Length: ${INNER.length}`], INNER],
  ['a request behind a request', [], INNER],
  [
    'Expect and both',
    ['Expect: 100-continue', 'Content-Length: 5', 'Transfer-Encoding: chunked'],
    `0\r\n\r\n${INNER}`,
  ],
  [
    'Upgrade to h2c',
    ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'],
    INNER,
  ],
];

/** No habit reads more than the one request that was allowed. */
function expectHarmless(received: string): void {
  for (const reading of allReadings(received)) {
    expect(reading.length, JSON.stringify(received)).toBeLessThanOrEqual(1);
    for (const { target } of reading) expect(target, JSON.stringify(received)).toMatch(/^\/v1\//);
  }
}

/** What the origin hears of it. */
async function sendHttp1(lines: readonly string[], body: string): Promise<string> {
  let received = '';
  await using server = await listen(
    tcpServer((socket) =>
      socket.on('data', (bytes) => {
        received += bytes.toString('latin1');
        if (/\r\n\r\n/.test(received)) socket.end(ANSWER);
      }),
    ),
  );
  await using world = await startWorld(rules(server.port, POLICY));
  const host = `api.test:${server.port}`;
  const head = [`POST http://${host}/v1/a HTTP/1.1`, `Host: ${host}`, ...lines, '', ''].join('\r\n');
  const client = rawClient(world.proxyPort, Buffer.from(head + body, 'latin1'));
  client.socket.end();
  await client.end();
  return received;
}

describe('HTTP/1', () => {
  test.each(HTTP1)('%s', async (_what, lines, body) => {
    expectHarmless(await sendHttp1(lines, body));
  });

  test('nothing wrong', async () => {
    expect(await sendHttp1(['Content-Length: 1'], 'x')).toMatch(/^POST \/v1\/a HTTP\/1.1\r\n.*\r\n\r\nx$/s);
  });

  test('the readings do see what is smuggled', () => {
    const seen = allReadings(
      `POST /v1/a HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${INNER}`,
    );
    expect(seen.some((reading) => reading.some(({ target }) => target === '/v2/smuggled'))).toBe(true);
  });
});

/** A header block of literals (RFC 7541 §6.2.2), so that anything can be in it. */
function headerBlock(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'latin1');
    return Buffer.concat([integer(bytes.length), bytes]);
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** RFC 7541 §5.1 with a prefix of seven bits. */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

function frame(type: number, flags: number, payload: Buffer, stream = 1): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  frame(4, 0, Buffer.alloc(0), 0),
]);
const END_STREAM = 1;
const END_HEADERS = 4;

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;

/** Settles when all the streams have had their last frame, or the connection is closed. */
async function answered(client: TLSSocket, streams: readonly number[]): Promise<void> {
  const open = new Set(streams);
  let bytes = Buffer.alloc(0);
  for await (const chunk of client) {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const type = bytes[3] ?? 0;
      const isLast = (type === DATA || type === HEADERS) && ((bytes[4] ?? 0) & END_STREAM) !== 0;
      if (isLast || type === RST_STREAM) open.delete(bytes.readUInt32BE(5));
      bytes = bytes.subarray(9 + bytes.readUIntBE(0, 3));
    }
    if (open.size === 0) return;
  }
}

type Fields = readonly (readonly [string, string])[];
const pseudo = (host: string): Fields => [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':authority', host],
  [':path', '/v1/a'],
];
const put = (fields: Fields, name: string, value: string): Fields =>
  fields.map(([key, before]) => [key, key === name ? value : before]);
const drop = (fields: Fields, name: string): Fields => fields.filter(([key]) => key !== name);

/** From the fields of a good request to those of a bad one; with a body, or several pieces of one. */
const HTTP2: [what: string, fields: (good: Fields) => Fields, body?: string][] = [
  ['a request in a body', (good) => good, INNER],
  ['a length that is too short', (good) => [...good, ['content-length', '4']], `0\r\n\r\n${INNER}`],
  ['a length that is too long', (good) => [...good, ['content-length', '4000']], INNER],
  ['a length of nothing', (good) => [...good, ['content-length', '0']], INNER],
  [
    'two lengths',
    (good) => [...good, ['content-length', '0'], ['content-length', String(INNER.length)]],
    INNER,
  ],
  ['a length that is no number', (good) => [...good, ['content-length', '0x10']], INNER],
  ['chunked', (good) => [...good, ['transfer-encoding', 'chunked']], `0\r\n\r\n${INNER}`],
  ['chunked in capitals', (good) => [...good, ['Transfer-Encoding', 'chunked']], `0\r\n\r\n${INNER}`],
  ['a field of one hop', (good) => [...good, ['connection', 'transfer-encoding']], INNER],
  ['an offer to upgrade', (good) => [...good, ['upgrade', 'h2c']], INNER],
  ['a TE beyond trailers', (good) => [...good, ['te', 'chunked']], INNER],
  ['CR LF in a value', (good) => [...good, ['x', 'y\r\nTransfer-Encoding: chunked']], `0\r\n\r\n${INNER}`],
  ['LF in a value', (good) => [...good, ['x', 'y\nTransfer-Encoding: chunked']], `0\r\n\r\n${INNER}`],
  ['CR in a value', (good) => [...good, ['x', 'y\rTransfer-Encoding: chunked']], `0\r\n\r\n${INNER}`],
  ['a null in a value', (good) => [...good, ['x', 'y\0z']], INNER],
  ['a whole request in a value', (good) => [...good, ['x', `y\r\n\r\n${INNER}`]]],
  ['CR LF in a name', (good) => [...good, ['x: y\r\ntransfer-encoding', 'chunked']], `0\r\n\r\n${INNER}`],
  ['a colon in a name', (good) => [...good, ['transfer-encoding: chunked\r\nx', 'y']], `0\r\n\r\n${INNER}`],
  ['a space in a name', (good) => [...good, ['transfer-encoding ', 'chunked']], `0\r\n\r\n${INNER}`],
  ['an empty name', (good) => [...good, ['', 'x']], INNER],
  ['CR LF in the path', (good) => put(good, ':path', `/v1/a HTTP/1.1\r\nHost: x\r\n\r\n${INNER}`)],
  ['a space in the path', (good) => put(good, ':path', '/v1/a HTTP/1.1')],
  ['a fragment in the path', (good) => put(good, ':path', '/v1/a#/v2/x')],
  ['an absolute path', (good) => put(good, ':path', 'https://other.test/v2/smuggled')],
  ['an empty path', (good) => put(good, ':path', '')],
  ['no path', (good) => drop(good, ':path')],
  ['two paths', (good) => [...good, [':path', '/v2/smuggled']]],
  ['a path behind the fields', (good) => [...drop(good, ':path'), ['x', 'y'], [':path', '/v2/smuggled']]],
  ['CR LF in the method', (good) => put(good, ':method', 'GET /v2/smuggled HTTP/1.1\r\nX: y')],
  ['a space in the method', (good) => put(good, ':method', 'GET /v2/smuggled HTTP/1.1')],
  ['no method', (good) => drop(good, ':method')],
  ['CONNECT', (good) => put(good, ':method', 'CONNECT')],
  ['CONNECT without a path', (good) => drop(drop(put(good, ':method', 'CONNECT'), ':path'), ':scheme')],
  ['an extended CONNECT', (good) => [...put(good, ':method', 'CONNECT'), [':protocol', 'websocket']]],
  ['CR LF in the authority', (good) => put(good, ':authority', 'api.test\r\nTransfer-Encoding: chunked')],
  ['another authority', (good) => put(good, ':authority', 'other.test')],
  ['another Host', (good) => [...good, ['host', 'other.test']]],
  ['two Hosts', (good) => [...drop(good, ':authority'), ['host', 'other.test'], ['host', 'api.test']]],
  ['neither authority nor Host', (good) => drop(good, ':authority')],
  ['another scheme', (good) => put(good, ':scheme', 'http')],
  ['a scheme with CR LF', (good) => put(good, ':scheme', `https\r\n\r\n${INNER}`)],
  ['no scheme', (good) => drop(good, ':scheme')],
  ['an unknown pseudo field', (good) => [...good, [':status', '200']]],
];

/** What an origin of HTTP/1 hears of it. */
async function sendHttp2(change: (good: Fields) => Fields, body: string | undefined): Promise<string> {
  let received = '';
  await using it = await inspected(POLICY, {
    raw: ({ key, cert }) =>
      createTls({ key, cert }, (socket) =>
        socket
          .on('error', () => {})
          .on('data', (bytes: Buffer) => {
            received += bytes.toString('latin1');
            socket.end(ANSWER);
          }),
      ),
  });
  const client = await tunnel(it.world, it.port, 'h2');
  const good = pseudo(`api.test:${it.port}`);
  client.write(PREFACE);
  const flags = body === undefined ? END_HEADERS | END_STREAM : END_HEADERS;
  client.write(frame(HEADERS, flags, headerBlock(change(good))));
  if (body !== undefined) client.write(frame(DATA, END_STREAM, Buffer.from(body)));
  // Its answer says that what came before has been dealt with.
  client.write(frame(HEADERS, END_HEADERS | END_STREAM, headerBlock(put(good, ':path', '/v2/last')), 3));
  await answered(client, [1, 3]);
  client.destroy();
  return received;
}

describe('HTTP/2 to HTTP/1', () => {
  test.each(HTTP2)('%s', async (_what, change, body?: string) => {
    expectHarmless(await sendHttp2(change, body));
  });

  test('nothing wrong', async () => {
    expect(await sendHttp2((good) => good, undefined)).toMatch(/^POST \/v1\/a HTTP\/1.1\r\n/);
  });
});
