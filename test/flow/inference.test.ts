/** inference.local, asked by curl: what providers get, what clients get, and what the record says. */

import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { parseCredentials } from '../../src/credential/parse.ts';
import { CredentialStore } from '../../src/credential/store.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { CLOSED_PORT } from '../ports.ts';
import { listen, makeCertificate, tcpServer } from './egress-world.ts';
import { CHAT, events, json, KEY, localRules, localWorld, provider, route } from './local-world.ts';

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

test('the requests of one client share a connection to the provider, those of two do not', async () => {
  const ports = new Set<number | undefined>();
  await using models = await provider((call, response) => {
    ports.add(response.socket?.remotePort);
    OK(call, response);
  });
  await using it = await localWorld({ routes: route(models) });
  for (const version of ['--http1.1', '--http2']) await it.fetch(version, '-d', '{}', CHAT, CHAT, CHAT);
  expect([models.calls.length, ports.size]).toEqual([6, 2]);
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
    await using models = await provider(OK);
    await using it = await localWorld({ routes: two(CLOSED_PORT, models.port) });
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

test('a placeholder in the place of a key is dropped like any other key', async () => {
  await using models = await provider(OK);
  const file = 'version: 1\ncredentials: { OPENAI_API_KEY: { value: another-secret, provider: api } }';
  const credentials = new CredentialStore(parseCredentials(file));
  await using it = await localWorld({ routes: route(models), credentials });
  const key = 'Authorization: Bearer openshell:resolve:env:OPENAI_API_KEY';
  const { stdout } = await it.fetch('-H', key, '-d', '{"messages":[]}', CHAT);
  expect(JSON.parse(stdout.toString())).toMatchObject({ id: 'x' });
  expect(models.calls[0]?.headers.authorization).toBe(`Bearer ${KEY}`);
});

test('a right that is lost while the provider is reached asks it nothing', async () => {
  using certificate = makeCertificate('model.test');
  await using models = await provider(OK, certificate);
  let goOn = (): void => {};
  let begun = (): void => {};
  const handshake = new Promise<void>((resolve) => {
    begun = resolve;
  });
  await using slow = await listen(
    tcpServer((socket) => {
      socket.once('readable', begun);
      goOn = () => {
        const origin = connect(models.port, '127.0.0.1').on('error', () => {});
        socket.pipe(origin).pipe(socket);
      };
    }),
  );
  const ca = certificate.cert.trim().replaceAll('\n', '\n      ');
  const routes = `routes:
  - name: slow
    endpoint: "https://model.test:${slow.port}/v1"
    model: m
    protocols: [openai_chat_completions]
    ca: |
      ${ca}
`;
  const only = (path: string): string =>
    `[{host: inference.local, port: 443, protocol: rest, rules: [{allow: {method: "*", path: "${path}"}}]}]`;
  await using it = await localWorld({ routes, endpoints: only('/**') });
  const answered = it.fetch('--http2', '-d', '{}', CHAT);
  await handshake;
  expect(it.world.egress.replacePolicy(compilePolicy(localRules(only('/v1/models'))))).toBe(1);
  goOn();
  await it.world.fact('model-called');
  await answered;
  expect(models.calls).toEqual([]);
});
