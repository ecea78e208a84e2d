import { describe, expect, test } from 'vitest';
import { compilePolicy } from '../../src/policy/compile.ts';
import { listen, makeCertificate, rawClient, run, tcpServer } from './egress-world.ts';
import { CHAT, events, json, KEY, localWorld, provider, route } from './local-world.ts';

const OK = json({ id: 'x', usage: { prompt_tokens: 5, completion_tokens: 7, total_tokens: 12 } });

describe.each(['1.1', '2'])('in HTTP/%s', (version) => {
  const http = `--http${version}`;

  test('a request goes out with the operator’s key and model, and nothing of the client’s', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({ routes: route(models) });
    const body = '{"model":"gpt-x","seed":9007199254740993,"messages":[{"role":"user","content":"hi"}]}';
    const headers = [
      '-H',
      'Authorization: Bearer mine',
      '-H',
      'X-Api-Key: mine',
      '-H',
      'Cookie: a=b',
      '-H',
      'X-Other: 1',
    ];
    const { code, stdout, stderr } = await it.fetch(
      http,
      ...headers,
      '-H',
      'OpenAI-Organization: o',
      '-d',
      body,
      CHAT,
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout.toString())).toMatchObject({ id: 'x' });
    const [call] = models.calls;
    expect(call).toMatchObject({ method: 'POST', path: '/v1/chat/completions' });
    // Numbers that JavaScript cannot hold stay as they were written.
    expect(call?.body).toBe(
      '{"model":"real-model","seed":9007199254740993,"messages":[{"role":"user","content":"hi"}]}',
    );
    const { host: _host, 'content-length': _length, 'user-agent': _agent, ...rest } = call?.headers ?? {};
    expect(rest).toEqual({
      accept: '*/*',
      'accept-encoding': 'identity',
      authorization: `Bearer ${KEY}`,
      connection: 'keep-alive',
      'content-type': 'application/json',
      'openai-organization': 'o',
    });
    expect(await it.world.fact('model-called')).toMatchObject({
      ...{ route: 'main', provider: 'openai-compatible', model: 'real-model', streamed: false },
      ...{
        operation: 'openai_chat_completions',
        httpStatus: 200,
        inputTokens: 5,
        outputTokens: 7,
        rule: 'own',
      },
      intent: {
        host: 'inference.local',
        http: { method: 'POST', path: '/v1/chat/completions', scheme: 'https' },
      },
      identity: { executable: '/usr/bin/curl' },
    });
    const closed = await it.world.fact('connection-closed');
    expect(closed).toMatchObject({ httpStatus: 200, address: undefined });
    expect(JSON.stringify(it.world.facts)).not.toMatch(/very-secret|"hi"/);
  });

  test('a stream passes event by event, and its counts are read', async () => {
    await using models = await provider(
      events(
        'data: {"a":1}\n',
        '\ndata: {"usage":{"prompt_tokens":3,"completion_',
        'tokens":4}}\n\ndata: [DONE]\n\n',
      ),
    );
    await using it = await localWorld({ routes: route(models) });
    const { stdout } = await it.fetch(http, '-N', '-d', '{"stream":true}', CHAT);
    expect(stdout.toString()).toBe(
      'data: {"a":1}\n\ndata: {"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\ndata: [DONE]\n\n',
    );
    expect(await it.world.fact('model-called')).toMatchObject({
      streamed: true,
      inputTokens: 3,
      outputTokens: 4,
    });
  });

  test('a stream that breaks off ends in an error that clients understand', async () => {
    await using models = await provider((_call, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"a":1}\n\ndata: {"half":');
      setImmediate(() => response.socket?.resetAndDestroy());
    });
    await using it = await localWorld({ routes: route(models) });
    const { code, stdout } = await it.fetch(http, '-d', '{"stream":true}', CHAT);
    expect({ code, text: stdout.toString() }).toEqual({
      code: 0,
      text: 'data: {"a":1}\n\ndata: {"error":{"type":"proxy_stream_error","message":"the provider broke off"}}\n\n',
    });
    const other = await it.fetch(http, '-d', '{"stream":true}', 'https://inference.local/v1/messages');
    expect(other.stdout.toString()).toContain(
      'event: error\ndata: {"type":"error","error":{"type":"api_error"',
    );
    expect(await it.world.fact('model-called')).toMatchObject({ detail: 'the provider broke off' });
  });

  test('so do one that stands still, and one that is too long', async () => {
    await using models = await provider((call, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      if (call.body.includes('endless')) response.write(`data: ${'x'.repeat(5000)}\n\n`);
    });
    await using it = await localWorld({
      routes: route(models),
      limits: { modelIdleMs: 300, modelAnswerBytes: 4000 },
    });
    const still = await it.fetch(http, '-d', '{"stream":true}', CHAT);
    expect(still.stdout.toString()).toMatch(/^data: 1\n\ndata: .*nothing came for 300 ms/);
    const endless = await it.fetch(http, '-d', '{"stream":true,"endless":1}', CHAT);
    expect(endless.stdout.toString()).toMatch(/^(data: 1\n\n)?data: .*larger than it may be/);
  });

  test('the right that a new policy takes away ends a stream', async () => {
    await using models = await provider((_call, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    });
    await using it = await localWorld({ routes: route(models) });
    const running = it.fetch(http, '-N', '-d', '{"stream":true}', CHAT);
    await expect.poll(() => models.calls.length).toBe(1);
    await expect
      .poll(() => it.world.facts.filter(({ kind }) => kind === 'connection-allowed').length)
      .toBe(2);
    expect(it.world.egress.replacePolicy(compilePolicy([]))).toBe(2);
    expect((await running).code).not.toBe(0);
    await expect.poll(() => it.world.facts.filter(({ kind }) => kind === 'connection-closed').length).toBe(2);
  });
});

test('what else there is: where it goes and as what', async () => {
  await using models = await provider(OK);
  await using it = await localWorld({ routes: route(models) });
  await it.fetch('-d', '{"input":"x"}', 'https://inference.local/v1/embeddings');
  await it.fetch('-d', '{"input":"x"}', 'https://inference.local/v1/responses?a=b');
  await it.fetch('-d', '{"prompt":"x"}', 'https://inference.local/model/any.model%3A1/invoke');
  await it.fetch('-d', '{"max_tokens":1}', 'https://inference.local/v1/messages/count_tokens');
  expect(models.calls.map(({ path, body }) => `${path} ${body}`)).toEqual([
    '/v1/embeddings {"input":"x","model":"real-model"}',
    '/v1/responses?a=b {"input":"x","model":"real-model"}',
    '/v1/model/real-model/invoke {"prompt":"x"}',
    '/v1/messages/count_tokens {"max_tokens":1,"model":"real-model"}',
  ]);
  const { stdout } = await it.fetch('https://inference.local/v1/models');
  expect(JSON.parse(stdout.toString())).toMatchObject({ object: 'list', data: [{ id: 'real-model' }] });
});

test('Anthropic’s endpoints get their own header and version, and Vertex AI its own form', async () => {
  await using models = await provider(json({ usage: { input_tokens: 1, output_tokens: 2 } }));
  const keys = `, provider_type: anthropic`;
  await using it = await localWorld({ routes: route(models, keys) });
  const ask = (body: string) =>
    it.fetch('-H', 'anthropic-beta: b', '-d', body, 'https://inference.local/v1/messages');
  await ask('{"model":"x"}');
  expect(models.calls[0]?.headers).toMatchObject({
    'x-api-key': KEY,
    'anthropic-version': '2023-06-01',
    'anthropic-beta': 'b',
  });
  expect(models.calls[0]?.headers).not.toHaveProperty('authorization');
  await using vertex = await localWorld({ routes: route(models, ', model_in_path: true') });
  await vertex.fetch(
    '-H',
    'anthropic-beta: b',
    '-d',
    '{"model":"x","context_management":{},"stream":false}',
    'https://inference.local/v1/messages',
  );
  expect(models.calls[1]).toMatchObject({
    path: '/v1/real-model:rawPredict',
    body: '{"stream":false,"anthropic_version":"vertex-2023-10-16"}',
    headers: { authorization: `Bearer ${KEY}` },
  });
  expect(models.calls[1]?.headers).not.toHaveProperty('anthropic-beta');
  expect(await it.world.fact('model-called')).toMatchObject({ inputTokens: 1, outputTokens: 2 });
});

describe('routes', () => {
  const two = (first: number, second: number, keys = '') =>
    `routes:
  - {name: first, endpoint: "http://127.0.0.1:${first}", model: a, protocols: [openai_chat_completions]${keys}}
  - {name: second, endpoint: "http://127.0.0.1:${second}", model: b, protocols: [openai_chat_completions]}
`;

  test('the next one answers where one cannot be reached', async () => {
    const gone = await provider(OK);
    await gone[Symbol.asyncDispose]();
    await using models = await provider(OK);
    await using it = await localWorld({ routes: two(gone.port, models.port) });
    const { stdout } = await it.fetch('-d', '{}', CHAT);
    expect(JSON.parse(stdout.toString())).toMatchObject({ id: 'x' });
    expect(models.calls[0]?.body).toBe('{"model":"b"}');
    expect(await it.world.fact('model-called')).toMatchObject({ route: 'second' });
  });

  test('a request that was sent is not sent again', async () => {
    await using broken = await provider((_call, response) => response.socket?.resetAndDestroy());
    await using models = await provider(OK);
    await using it = await localWorld({ routes: two(broken.port, models.port) });
    const { stdout } = await it.fetch('-d', '{}', CHAT);
    expect(JSON.parse(stdout.toString())).toMatchObject({ error: 'upstream_failed' });
    expect(models.calls).toHaveLength(0);
    expect(await it.world.fact('model-called')).toMatchObject({ route: 'first', detail: expect.any(String) });
  });

  test('one for some models answers for those, and only those', async () => {
    await using some = await provider(OK);
    await using any = await provider(OK);
    await using it = await localWorld({ routes: two(some.port, any.port, ', models: ["small-*"]') });
    await it.fetch('-d', '{"model":"small-1"}', CHAT);
    await it.fetch('-d', '{"model":"large"}', CHAT);
    await it.fetch('-d', '{}', CHAT);
    expect([some.calls.length, any.calls.length]).toEqual([1, 2]);
  });

  test('they can be replaced', async () => {
    await using models = await provider(OK);
    await using it = await localWorld({ routes: route(models) });
    it.world.egress.replaceModelRoutes([]);
    const { stdout } = await it.fetch('-d', '{}', CHAT);
    expect(JSON.parse(stdout.toString())).toMatchObject({ error: 'inference_not_configured' });
  });

  test('https is verified, by the route’s own authority where it has one', async () => {
    using certificate = makeCertificate('models.test');
    await using models = await provider(OK, certificate);
    const of = (ca: string) =>
      `routes:\n  - name: main\n    endpoint: https://models.test:${models.port}/v1\n    model: m\n    api_key: ${KEY}\n    protocols: [openai_chat_completions]\n${ca}`;
    await using unverified = await localWorld({ routes: of('') });
    const refused = await unverified.fetch('-d', '{}', CHAT);
    expect(JSON.parse(refused.stdout.toString())).toMatchObject({ error: 'upstream_tls_failed' });
    expect(models.calls).toHaveLength(0);
    // Why is the operator's to know.
    expect(refused.stdout.toString()).not.toContain('models.test');
    expect(await unverified.world.fact('model-called')).toMatchObject({
      detail: expect.stringContaining('TLS'),
    });
    const pem = certificate.cert.trimEnd().replaceAll(/^/gm, '      ');
    await using it = await localWorld({ routes: of(`    ca: |\n${pem}\n`) });
    const { stdout } = await it.fetch('-d', '{}', CHAT);
    expect(JSON.parse(stdout.toString())).toMatchObject({ id: 'x' });
  });

  test.each(['169.254.169.254', '8.8.8.8', '::', 'fe80::1'])(
    'an endpoint by http whose name leads to %s is not asked',
    async (address) => {
      const routes =
        'routes: [{name: m, endpoint: "http://models.test/v1", model: m, protocols: [openai_chat_completions]}]';
      await using it = await localWorld({ routes, resolve: async () => [address] });
      const { stdout } = await it.fetch('-d', '{}', CHAT);
      expect(JSON.parse(stdout.toString())).toMatchObject({ error: 'model_unreachable' });
      expect(await it.world.fact('model-called')).toMatchObject({ detail: expect.stringContaining(address) });
    },
  );
});

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
          ...(await import('./egress-world.ts')).IDENTITY,
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
