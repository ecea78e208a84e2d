/** Servers that ask for another ClientHello take the name from that one: it is read like the first. */
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls, createServer as createTls } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { clientHello, ECH, KEY_SHARE, record, SERVER_NAME } from './client-hello.ts';
import { listen, makeCertificate, rawClient, rule, startWorld, tcpServer } from './egress-world.ts';

const ALERT = String.fromCharCode(21, 3, 1, 0, 2, 2, 49);
const CHANGE_CIPHER = record(20, Buffer.from([1]));

/** Makes a server that speaks any group ask again. */
const asking = () =>
  clientHello('a.test', (extensions) =>
    extensions.map(([type, data]) => [type, type === KEY_SHARE ? Buffer.from([0, 0]) : data]),
  );
const other = () =>
  clientHello('a.test', (extensions) =>
    extensions.map(([type, data]) => [
      type,
      type === SERVER_NAME ? Buffer.from(data.toString('latin1').replace('a.', 'b.'), 'latin1') : data,
    ]),
  );
const hidden = () => clientHello('a.test', (extensions) => [...extensions, [ECH, Buffer.alloc(8)]]);

/** A real server of TLS, and what it has been sent. */
async function server() {
  using certificate = makeCertificate('a.test', 'b.test');
  const { key, cert } = certificate;
  const tls = createTls({ key, cert, ecdhCurve: 'P-256' }, (socket) => socket.end('hello'));
  const listening = await listen(tls);
  let heard = Buffer.alloc(0);
  const front = await listen(
    tcpServer((socket) => {
      const inner = connectTcp(listening.port, '127.0.0.1');
      inner.on('error', () => socket.destroy());
      socket.on('data', (chunk: Buffer) => {
        heard = Buffer.concat([heard, chunk]);
      });
      socket.pipe(inner).pipe(socket);
    }),
  );
  return {
    port: front.port,
    cert,
    heard: () => heard,
    async [Symbol.asyncDispose]() {
      await front[Symbol.asyncDispose]();
      await listening[Symbol.asyncDispose]();
    },
  };
}

const WAYS = ['connect', 'transparent'] as const;

describe.each(WAYS)('a tunnel (%s)', (way) => {
  async function open(port: number) {
    const world = await startWorld([rule('a.test', [port])], {
      originalDestination: () => ({ address: '192.0.2.1', port }),
    });
    const client =
      way === 'connect'
        ? rawClient(world.proxyPort, `CONNECT a.test:${port} HTTP/1.1\r\nHost: x\r\n\r\n`)
        : rawClient(world.transparentPort);
    if (way === 'connect') await client.until(/\r\n\r\n/);
    return { world, client, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
  }
  /** An answer of the server: a handshake record. */
  const ANSWER = new RegExp(String.fromCharCode(22, 3, 3));

  test.each([
    ['another name', async () => [await other()]],
    ['another name, behind what does not count', async () => [CHANGE_CIPHER, await other()]],
    ['another name, behind early data', async () => [Buffer.concat([record(23, Buffer.alloc(100)), await other()])]],
    ['another name, behind a warning', async () => [Buffer.concat([record(21, Buffer.from([1, 90])), await other()])]],
    ['another name, byte by byte', async () => [...(await other())].map((byte) => Buffer.from([byte]))],
    ['a name that is hidden', async () => [await hidden()]],
    ['what is no hello', async () => [record(22, Buffer.from([16, 0, 0, 1, 0]))]],
    ['an empty record', async () => [record(22, Buffer.alloc(0)), await other()]],
    ['a hello that does not end', async () => [Buffer.concat(Array(5).fill(record(22, Buffer.from([1, 0, 127, 0, ...Array(9000).fill(0)]))))]],
  ])('that is asked again, with %s, is cut off', async (_, pieces) => {
    await using origin = await server();
    await using it = await open(origin.port);
    const first = await asking();
    it.client.socket.write(first);
    await it.client.until(ANSWER);
    const second = await pieces();
    for (const piece of second) it.client.socket.write(piece);
    expect(await it.client.end()).toContain(ALERT);
    expect(origin.heard().length).toBeLessThan(first.length + Buffer.concat(second).length);
    expect(await it.world.fact('connection-denied')).toMatchObject({ reason: 'name_mismatch' });
  }); // biome-ignore format: a table

  test('that sends another name before it is asked is cut off', async () => {
    await using origin = await server();
    await using it = await open(origin.port);
    it.client.socket.write(Buffer.concat([await asking(), CHANGE_CIPHER, await other()]));
    expect(await it.client.end()).toContain(ALERT);
    expect(origin.heard()).toHaveLength(0);
  });

  test('that is asked again, with the same name, is answered', async () => {
    await using origin = await server();
    await using it = await open(origin.port);
    it.client.socket.write(await asking());
    await it.client.until(ANSWER);
    const before = it.client.text().length;
    it.client.socket.write(Buffer.concat([CHANGE_CIPHER, await clientHello('a.test')]));
    await expect.poll(() => it.client.text().length).toBeGreaterThan(before);
    it.client.socket.destroy();
  });
});

test.each([
  ['TLSv1.3', 'X25519:P-256'],
  ['TLSv1.3', 'P-256'],
  ['TLSv1.2', 'P-256'],
] as const)('%s with %s, and again with its session, works as ever', async (version, ecdhCurve) => {
  await using origin = await server();
  await using world = await startWorld([rule('a.test', [origin.port])]);
  let session: Buffer | undefined;
  for (const isReused of [false, true]) {
    const raw = connectTcp(world.proxyPort, '127.0.0.1');
    raw.write(`CONNECT a.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await once(raw, 'readable');
    raw.read();
    const socket = connectTls({
      socket: raw,
      servername: 'a.test',
      ca: origin.cert,
      ecdhCurve,
      maxVersion: version,
      ...(session && { session }),
    });
    socket.on('session', (given: Buffer) => {
      session = given;
    });
    const [data] = await once(socket, 'data');
    expect(String(data)).toBe('hello');
    expect(socket.isSessionReused()).toBe(isReused);
    socket.destroy();
  }
  expect(world.facts.filter(({ kind }) => kind === 'connection-denied')).toEqual([]);
});
