/** inference.local as a hostile program or provider meets it: what is refused, what is not passed on, and every way in. */
import { describe, expect, test } from 'vitest';
import { IDENTITY, listen, rawClient, run, tcpServer } from './egress-world.ts';
import { CHAT, json, KEY, localWorld, provider, route } from './local-world.ts';

const OK = json({ id: 'x', usage: { prompt_tokens: 5, completion_tokens: 7, total_tokens: 12 } });

/** In the clear through the proxy: what is inside TLS comes to the same port. */
const head = (path: string, length: number): string =>
  `POST http://inference.local:443${path} HTTP/1.1\r\nHost: inference.local:443\r\nContent-Length: ${length}\r\n\r\n`;

describe('refused', () => {
  test.each<[string, string[], object]>([
    ['another path', ['-d', '{}', 'https://inference.local/v2/x'], { error: 'unknown_model_request' }],
    ['another method', ['-X', 'PUT', '-d', '{}', CHAT], { error: 'unknown_model_request' }],
    ['no JSON', ['-d', 'model=x', CHAT], { error: 'malformed_body' }],
    [
      'a key twice',
      ['-d', '{"model":"a","model":"b"}', CHAT],
      { error: 'malformed_body', detail: expect.stringContaining('same key') },
    ],
    ['a list', ['-d', '[]', CHAT], { error: 'malformed_body' }],
    ['a model that is no text', ['-d', '{"model":1}', CHAT], { error: 'malformed_body' }],
    [
      'a protocol without a route',
      ['-d', '{}', 'https://inference.local/v1/completions'],
      { error: 'no_route' },
    ],
    ['an encoded body', ['-H', 'Content-Encoding: gzip', '-d', '{}', CHAT], { error: 'body_encoded' }],
    [
      'a length beyond any',
      ['--http1.1', '-H', 'Content-Length: 99999999999', '-d', '{}', CHAT],
      { error: 'body_too_large' },
    ],
  ])('%s', async (_, args, body) => {
    await using models = await provider(OK);
    await using it = await localWorld({ routes: route(models) });
    const { stdout } = await it.fetch('--max-time', '5', ...args);
    expect(JSON.parse(stdout.toString())).toMatchObject(body);
    expect(models.calls).toHaveLength(0);
  });

  test('a body that is too large, whether it says so or not', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({ routes: route(models), limits: { modelRequestBytes: 1000 } });
    for (const how of ['Content-Length: 2002', 'Transfer-Encoding: chunked']) {
      const { stdout } = await it.fetch('--http1.1', '-H', how, '-d', `{"a":"${'x'.repeat(1994)}"}`, CHAT);
      expect(JSON.parse(stdout.toString())).toMatchObject({ error: 'body_too_large' });
    }
    expect(models.calls).toHaveLength(0);
  });

  test('a body that does not come', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({ routes: route(models), limits: { bodyMs: 200 } });
    const client = rawClient(it.world.proxyPort, `${head('/v1/chat/completions', 10)}{"a"`);
    expect(await client.until(/\r\n\r\n.*}/s)).toMatch(/^HTTP\/1\.1 413 .*body_too_large/s);
    expect(models.calls).toHaveLength(0);
  });

  test('a second request behind the first, whatever the first is', async () => {
    await using models = await provider(OK);
    const endpoints =
      '[{host: inference.local, port: 443, protocol: rest, rules: [{allow: {method: POST, path: /v1/chat/completions}}]}]';
    await using it = await localWorld({ routes: route(models), endpoints });
    const [allowed, other] = [`${head('/v1/chat/completions', 2)}{}`, `${head('/v1/embeddings', 2)}{}`];
    expect(await rawClient(it.world.proxyPort, allowed + other).end()).toMatch(
      /"id":"x".*request_not_listed/s,
    );
    // What stands behind a body is no request line: nothing more is heard, nor answered.
    await rawClient(it.world.proxyPort, `${head('/v1/chat/completions', 9)}${other}`).end();
    expect(models.calls).toHaveLength(1);
  });

  test('without a route everything', async () => {
    await using it = await localWorld();
    const { stdout } = await it.fetch('-d', '{}', CHAT);
    expect(JSON.parse(stdout.toString())).toMatchObject({ error: 'inference_not_configured' });
  });

  test('requests that no rule allows, where rules are about requests', async () => {
    await using models = await provider(OK);
    const endpoints =
      '[{host: inference.local, port: 443, protocol: rest, rules: [{allow: {method: POST, path: /v1/chat/completions}}]}]';
    await using it = await localWorld({ routes: route(models), endpoints });
    const { stdout } = await it.fetch('-d', '{}', CHAT, 'https://inference.local/v1/embeddings');
    expect(stdout.toString()).toContain('"id":"x"');
    expect(stdout.toString()).toContain('request_not_listed');
    expect(models.calls).toHaveLength(1);
  });

  test('the second request of a connection is judged like the first', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({ routes: route(models) });
    const { stdout } = await it.fetch('--http1.1', '-d', '{}', CHAT, 'https://inference.local/admin');
    expect(stdout.toString()).toContain('unknown_model_request');
    expect(models.calls).toHaveLength(1);
  });
});

describe('errors of providers', () => {
  test.each([401, 403])('%s is about the operator’s key, which nobody sees', async (status) => {
    await using models = await provider(json({ error: { message: `bad key ${KEY}` } }, status));
    await using it = await localWorld({ routes: route(models) });
    const { stdout } = await it.fetch('-d', '{}', CHAT);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      error: 'model_failed',
      detail: expect.stringContaining('key'),
    });
    expect(stdout.toString()).not.toContain('very-secret');
  });

  test('others are passed on, unless the key is in them', async () => {
    await using models = await provider((call, response) =>
      json({ error: call.body.includes('leak') ? (call.headers.authorization ?? '') : 'slow down' }, 429)(
        call,
        response,
      ),
    );
    await using it = await localWorld({ routes: route(models) });
    const plain = await it.fetch('-d', '{}', '-w', '%{http_code}', CHAT);
    expect(plain.stdout.toString()).toBe('{"error":"slow down"}429');
    const leak = await it.fetch('-d', '{"leak":1}', CHAT);
    expect(leak.stdout.toString()).not.toContain('very-secret');
    expect(JSON.parse(leak.stdout.toString())).toMatchObject({ error: 'model_failed' });
  });

  test('fields for clients are passed on, those with the key in them are not', async () => {
    await using models = await provider((call, response) => {
      const fields = { 'retry-after': '7', 'x-echo': call.headers.authorization ?? '' };
      response.writeHead(call.body.includes('busy') ? 429 : 200, fields).end('{}');
    });
    await using it = await localWorld({ routes: route(models) });
    for (const body of ['{}', '{"busy":1}']) {
      const { stdout } = await it.fetch('-i', '-d', body, CHAT);
      expect(stdout.toString()).toMatch(/retry-after: 7/i);
      expect(stdout.toString()).not.toMatch(/x-echo|very-secret/);
    }
  });

  test('redirects are not followed, and cookies stay', async () => {
    await using models = await provider((call, response) => {
      if (call.body.includes('go')) response.writeHead(307, { location: 'http://169.254.169.254/' }).end();
      else response.writeHead(200, { 'set-cookie': 'a=b', 'x-request-id': '7' }).end('{}');
    });
    await using it = await localWorld({ routes: route(models) });
    const moved = await it.fetch('-d', '{"go":1}', CHAT);
    expect(JSON.parse(moved.stdout.toString())).toMatchObject({ error: 'model_failed' });
    const { stdout } = await it.fetch('-i', '-d', '{}', CHAT);
    expect(stdout.toString()).toContain('x-request-id: 7');
    expect(stdout.toString()).not.toMatch(/set-cookie/i);
  });

  test.each<[string, string]>([
    ['silence', ''],
    ['no HTTP', 'hello\r\n\r\n'],
    ['interim responses without end', 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(100)],
    ['a head without end', `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(20_000)}`],
    ['control characters', 'HTTP/1.1 200 OK\r\nx: a\u0001b\r\ncontent-length: 0\r\n\r\n'],
    ['both framings', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
    [
      'a switch of protocols',
      'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
    ],
  ])('%s is told as a failure', async (_, text) => {
    await using models = await listen(
      tcpServer((socket) => void socket.once('data', () => socket.write(text))),
    );
    await using it = await localWorld({ routes: route(models, ', timeout_seconds: 1') });
    const { stdout } = await it.fetch('-d', '{}', '-w', '%{http_code}', CHAT);
    expect(stdout.toString()).toMatch(/"error":"(model|upstream)_[a-z]+".*50[24]$/s);
  });
});

describe('ways in', () => {
  test('a program that ignores the proxy', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({ routes: route(models) });
    const address = await resolveBy(it.world.egress.addresses.dnsUdp[0]?.port ?? 0, 'inference.local');
    expect(address).toMatch(/^198\.18\./);
    it.world.dialled = { address, port: 443 };
    const to = ['--connect-to', `inference.local:443:127.0.0.1:${it.world.transparentPort}`];
    const { stdout, stderr } = await run('curl', ['-sS', '--insecure', ...to, '-d', '{}', CHAT]);
    expect(JSON.parse(stdout.toString()), stderr).toMatchObject({ id: 'x' });
  });

  test('other ports and other programs', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({
      routes: route(models),
      endpoints: '[{host: inference.local, ports: [443, 8443]}, {host: policy.local, ports: [80, 443]}]',
      resolve: async () => {
        throw new Error('a look-up');
      },
    });
    for (const url of [
      'https://inference.local:8443/v1/models',
      'http://inference.local:8443/',
      'https://policy.local/',
    ]) {
      await it.fetch('-d', '{}', url);
      expect(it.world.facts.at(-1)).toMatchObject({
        kind: 'connection-failed',
        detail: expect.stringContaining('castellan answers'),
      });
    }
    await using other = await localWorld({
      routes: route(models),
      identify: async () => ({
        ok: true,
        identity: {
          ...IDENTITY,
          executable: '/usr/bin/wget',
          ancestors: [],
        },
      }),
    });
    expect((await other.fetch('-d', '{}', CHAT)).stderr).toContain('403');
    expect(await other.world.fact('connection-denied')).toMatchObject({ reason: 'binary_not_listed' });
    expect(models.calls).toHaveLength(0);
  });

  test('a rule without a host does not grant castellan’s own names', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({
      routes: route(models),
      endpoints: '[{ports: [80, 443], allowed_ips: ["10.0.0.0/8"]}]',
    });
    await it.fetch('-d', '{}', CHAT);
    await it.fetch('http://policy.local/');
    const denied = it.world.facts.filter(({ kind }) => kind === 'connection-denied');
    expect(denied).toMatchObject([{ reason: 'host_not_listed' }, { reason: 'host_not_listed' }]);
  });

  test('another Host in the tunnel, both framings, and a WebSocket', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({ routes: route(models) });
    const { stdout } = await it.fetch('--http1.1', '-H', 'Host: api.openai.com', '-d', '{}', CHAT);
    expect(JSON.parse(stdout.toString())).toMatchObject({ reason: 'name_mismatch' });
    for (const head of [
      'POST http://inference.local:443/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'GET http://policy.local/ HTTP/1.1\r\nHost: policy.local\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    ]) {
      const client = rawClient(it.world.proxyPort, head);
      expect(await client.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 40[03]/);
      client.socket.destroy();
    }
    expect(models.calls).toHaveLength(0);
  });
});

async function resolveBy(port: number, name: string): Promise<string> {
  const { Resolver } = await import('node:dns/promises');
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${port}`]);
  return (await resolver.resolve4(name))[0] ?? '';
}
