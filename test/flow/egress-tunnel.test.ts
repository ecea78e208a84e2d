/** Tunnels through the whole flow at the moment they are handed to the kernel, and cut while it moves their bytes. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { compilePolicy } from '../../src/policy/compile.ts';
import { listen, rawClient, rule, startWorld, tcpServer } from './egress-world.ts';

/** More than the buffers of two connections hold. */
const MUCH = Buffer.alloc(24 * 1024 * 1024, 'abcdefg');
const CONNECT = (port: number) => `CONNECT allowed.test:${port} HTTP/1.1\r\nHost: x\r\n\r\n`;
const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function drain(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

const relayThreads = () =>
  readdirSync('/proc/self/task').filter(
    (task) => readFileSync(`/proc/self/task/${task}/comm`, 'latin1') === 'tunnel-relay\n',
  ).length;

describe('at the hand-over', () => {
  test('what Node has not written yet stays in order, and neither direction waits for the other', async () => {
    const heard = Promise.withResolvers<string>();
    await using origin = await listen(
      tcpServer((socket) => {
        // Speaks first, and more than the client takes before it has been heard itself.
        socket.end(MUCH);
        void drain(socket).then(heard.resolve);
      }),
    );
    await using world = await startWorld([rule('allowed.test', [origin.port], 'tcp')]);
    const client = connect({ port: world.proxyPort, host: '127.0.0.1', allowHalfOpen: true });
    client.write(CONNECT(origin.port));
    await once(client, 'readable');
    expect(String(client.read(ESTABLISHED.length))).toBe(ESTABLISHED);
    client.end(MUCH);
    expect(await heard.promise).toBe(digest(MUCH));
    expect(await drain(client)).toBe(digest(MUCH));
    expect(await world.fact('connection-closed')).toMatchObject({
      bytesOut: MUCH.length,
      bytesIn: MUCH.length,
    });
  });

  test('one thread serves all tunnels, and ends with the flow', async () => {
    await using origin = await listen(tcpServer((socket) => socket.pipe(socket)));
    await using world = await startWorld([rule('allowed.test', [origin.port], 'tcp')]);
    await expect.poll(relayThreads).toBe(0);
    const clients = Array.from({ length: 20 }, () => rawClient(world.proxyPort, CONNECT(origin.port)));
    for (const client of clients) {
      await client.until(/200/);
      client.socket.write('hello');
      await client.until(/hello/);
    }
    expect(relayThreads()).toBe(1);
    for (const { socket } of clients) socket.destroy();
    await world.egress.close();
    await expect.poll(relayThreads).toBe(0);
  });

  test('a client that resets before it has spoken ends the tunnel', async () => {
    const connected = Promise.withResolvers<Socket>();
    await using origin = await listen(tcpServer(connected.resolve));
    await using world = await startWorld([rule('allowed.test', [origin.port], 'tcp')]);
    const client = rawClient(world.proxyPort, CONNECT(origin.port));
    await client.until(/200/);
    const upstream = (await connected.promise).resume();
    client.socket.resetAndDestroy();
    await new Promise((resolve) => upstream.once('close', resolve));
    expect(await world.fact('connection-failed')).toMatchObject({
      detail: expect.stringMatching(/^client: /),
    });
  });
});

describe('while the kernel moves the bytes', () => {
  test.each(['client', 'upstream'] as const)('a reset by the %s is recorded as such', async (side) => {
    const connected = Promise.withResolvers<Socket>();
    await using origin = await listen(tcpServer(connected.resolve));
    await using world = await startWorld([rule('allowed.test', [origin.port], 'tcp')]);
    const client = rawClient(world.proxyPort, CONNECT(origin.port));
    await client.until(/200/);
    client.socket.write('hello');
    const upstream = await connected.promise;
    await once(upstream, 'data');
    (side === 'client' ? client.socket : upstream).resetAndDestroy();
    expect(await world.fact('connection-failed')).toMatchObject({ detail: `${side}: ECONNRESET` });
    expect(await world.fact('connection-closed')).toMatchObject({ bytesOut: 5, bytesIn: 0 });
    if (side === 'upstream') expect(await client.end()).toContain('<reset>');
  });

  test('a lost right cuts both sides at once', async () => {
    const connected = Promise.withResolvers<Socket>();
    await using origin = await listen(tcpServer(connected.resolve));
    await using world = await startWorld([rule('allowed.test', [origin.port], 'tcp')]);
    const client = rawClient(world.proxyPort, CONNECT(origin.port));
    await client.until(/200/);
    client.socket.pause();
    client.socket.write(MUCH);
    const upstream = await connected.promise;
    await once(upstream, 'readable');
    const cut = once(upstream, 'error');
    expect(world.egress.replacePolicy(compilePolicy([]))).toBe(1);
    // Nothing has to happen in between: the connection is gone when the policy is in force.
    expect(readFileSync('/proc/net/tcp', 'latin1')).not.toMatch(established(world.proxyPort));
    upstream.resume();
    expect(String(await cut)).toContain('ECONNRESET');
    expect(await world.fact('connection-closed')).toMatchObject({ bytesIn: 0 });
    expect(await world.fact('connection-denied')).toMatchObject({ reason: 'no_policy' });
  });

  test('a stop resets what does not end, and has told its end then', async () => {
    await using origin = await listen(tcpServer((socket) => socket.pipe(socket)));
    await using world = await startWorld([rule('allowed.test', [origin.port], 'tcp')], {
      limits: { drainMs: 50 },
    });
    const client = rawClient(world.proxyPort, CONNECT(origin.port));
    await client.until(/200/);
    client.socket.write('hello');
    await client.until(/hello/);
    await world.egress.close();
    // Nobody takes facts after this.
    expect(world.facts.at(-1)).toMatchObject({ kind: 'connection-closed', bytesOut: 5, bytesIn: 5 });
    await client.end();
  });
});

/** A line of proc_net_tcp(5) for a connection in state 1 with this local port. */
function established(port: number): RegExp {
  return new RegExp(`: [0-9A-F]{8}:${port.toString(16).toUpperCase().padStart(4, '0')} [0-9A-F:]{13} 01 `);
}
