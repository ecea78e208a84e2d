/** A ClientHello whose real name may be an encrypted one (RFC 9849): who has the keys of a front reaches all that is behind it. */
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { NetworkRule } from '../../src/policy/document.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { clientHello, ECH } from './client-hello.ts';
import { listen, rawClient, startWorld, tcpServer } from './egress-world.ts';

const bytes = (...codes: number[]) => String.fromCharCode(...codes);
const ALERT = bytes(21, 3, 1, 0, 2, 2, 49);
/** A handshake record in which a ServerHello begins. */
const SERVER_HELLO = new RegExp(`\r\n\r\n${bytes(22, 3, 3)}..${bytes(2)}`, 's');

/** Outer, HKDF-SHA256 with AES-128-GCM, config 7, a key of 32 bytes, a payload of 144: as decoys and real ones are. */
const ECH_DATA = Buffer.concat([
  Buffer.from([0, 0, 1, 0, 1, 7, 0, 32]),
  Buffer.alloc(32, 1),
  Buffer.from([0, 144]),
  Buffer.alloc(144, 2),
]);
const helloWithEch = () => clientHello('a.test', (extensions) => [...extensions, [ECH, ECH_DATA]]);

const policy = (port: number, keys: string): readonly NetworkRule[] =>
  parsePolicy(
    `version: 1\nnetwork_policies: {r: {endpoints: [{host: a.test, port: ${port}, ${keys}}], binaries: [{path: /usr/bin/curl}]}}\n`,
    'p',
  ).network;

/** An origin that keeps what it hears. */
async function listener() {
  let heard = Buffer.alloc(0);
  const listening = await listen(
    tcpServer((socket) => {
      socket.on('data', (chunk: Buffer) => {
        heard = Buffer.concat([heard, chunk]);
        socket.end('heard');
      });
      socket.on('end', () => socket.end());
    }),
  );
  return { ...listening, heard: () => heard };
}

describe.each(['tls: skip', 'protocol: tcp'])('an endpoint with %s', (keys) => {
  test.each(['connect', 'transparent'] as const)('refuses it (%s)', async (way) => {
    await using origin = await listener();
    await using world = await startWorld(policy(origin.port, keys), {
      originalDestination: () => ({ address: '192.0.2.1', port: origin.port }),
    });
    const client =
      way === 'connect'
        ? rawClient(world.proxyPort, `CONNECT a.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n`)
        : rawClient(world.transparentPort);
    if (way === 'connect') await client.until(/200/);
    client.socket.write(await helloWithEch());
    expect(await client.end()).toContain(ALERT);
    expect(origin.heard()).toHaveLength(0);
    expect(await world.fact('connection-denied')).toMatchObject({
      reason: 'name_mismatch',
      detail: expect.stringContaining('allow_encrypted_client_hello'),
    });
  });

  test.each(['connect', 'transparent'] as const)('lets it pass where it says so (%s)', async (way) => {
    await using origin = await listener();
    const rules = policy(origin.port, `${keys}, allow_encrypted_client_hello: true`);
    await using world = await startWorld(rules, {
      originalDestination: () => ({ address: '192.0.2.1', port: origin.port }),
    });
    const client =
      way === 'connect'
        ? rawClient(world.proxyPort, `CONNECT a.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n`)
        : rawClient(world.transparentPort);
    if (way === 'connect') await client.until(/200/);
    const hello = await helloWithEch();
    client.socket.write(hello);
    await client.until(/heard/);
    expect(origin.heard()).toEqual(hello);
    client.socket.destroy();
  });
});

test('where TLS is opened it is harmless: nobody here has keys for it', async () => {
  await using world = await startWorld(policy(443, 'protocol: rest, access: full'));
  const client = rawClient(world.proxyPort, 'CONNECT a.test:443 HTTP/1.1\r\nHost: x\r\n\r\n');
  await client.until(/200/);
  client.socket.write(await helloWithEch());
  await client.until(SERVER_HELLO);
  client.socket.destroy();
  await once(client.socket, 'close');
  expect(world.facts.filter(({ kind }) => kind === 'connection-denied')).toEqual([]);
});
