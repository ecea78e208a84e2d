/** WebSockets through the egress: real clients and origins, every message parsed on its way. */
import { once } from 'node:events';
import { createServer as createHttp, type IncomingMessage } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { connect, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { type ClientOptions, WebSocket, WebSocketServer } from 'ws';
import { parseCredentials } from '../../src/credential/parse.ts';
import { CredentialStore } from '../../src/credential/store.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { listen, startWorld } from './egress-world.ts';
import { type Inspected, type InspectedOptions, inspected, rules, tunnel } from './inspect-world.ts';

const CHAT =
  'protocol: websocket, rules: [{allow: {method: GET, path: "/chat/**"}}, {allow: {method: WEBSOCKET_TEXT, path: "/chat/**"}}]';
const LISTEN = 'protocol: websocket, access: read-only';

interface Chat extends AsyncDisposable {
  readonly it: Inspected;
  /** What the origin saw. */
  readonly requests: IncomingMessage[];
  readonly messages: string[];
  readonly closes: number[];
  open(path: string, protocols?: string[], options?: ClientOptions): Promise<WebSocket>;
}

/** An origin that sends everything back. */
async function chat(keys: string, options: Partial<InspectedOptions> = {}): Promise<Chat> {
  const requests: IncomingMessage[] = [];
  const messages: string[] = [];
  const closes: number[] = [];
  const it = await inspected(keys, {
    raw({ key, cert }) {
      const server = createHttps({ key, cert }, (_request, response) => response.end('no socket'));
      const sockets = new WebSocketServer({
        noServer: true,
        handleProtocols: (offered) => [...offered].at(-1) ?? false,
      });
      server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
        requests.push(request);
        if (request.url?.endsWith('/refused')) {
          socket.end(
            'HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\nWWW-Authenticate: Basic\r\n\r\nlogin',
          );
          return;
        }
        if (request.url?.endsWith('/rude')) return void socket.destroy();
        sockets.handleUpgrade(request, socket, head, (peer) => {
          peer.on('message', (data, isBinary) => {
            messages.push(String(data));
            peer.send(data, { binary: isBinary });
          });
          peer.on('close', (code) => closes.push(code));
          if (request.url?.endsWith('/bye')) peer.close(4001, 'bye now');
        });
      });
      return server;
    },
    ...options,
  });
  return {
    it,
    requests,
    messages,
    closes,
    async open(path, protocols = [], clientOptions = {}) {
      const socket = await tunnel(it.world, it.port, 'http/1.1');
      const url = `ws://api.test:${it.port}${path}`;
      const client = new WebSocket(url, protocols, { createConnection: () => socket, ...clientOptions });
      client.on('error', () => {});
      return client;
    },
    [Symbol.asyncDispose]: () => it[Symbol.asyncDispose](),
  };
}

async function opened(client: WebSocket): Promise<WebSocket> {
  await once(client, 'open');
  return client;
}
/** Of the WebSocket, not of the tunnel it is in. */
const requestRecord = ({ world }: Inspected) =>
  world.facts
    .filter((fact) => fact.kind === 'connection-closed')
    .find(({ intent }) => intent.http !== undefined);
const message = async (client: WebSocket) => String((await once(client, 'message'))[0]);
/** The HTTP answer in the place of a WebSocket. */
async function answer(client: WebSocket): Promise<{ readonly status: number; readonly body: string }> {
  const [, response] = (await once(client, 'unexpected-response')) as [unknown, IncomingMessage];
  let body = '';
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode ?? 0, body };
}

describe('an inspected WebSocket', () => {
  test('carries text, bytes, pings and the close both ways', async () => {
    await using it = await chat(CHAT);
    const client = await opened(await it.open('/chat/1?x=y', ['first', 'second']));
    expect(client.protocol).toBe('second');
    client.send('héllo');
    expect(await message(client)).toBe('héllo');
    client.send('again');
    expect(await message(client)).toBe('again');
    // Once: what a text says is nobody's to know.
    expect(it.it.world.facts.filter(({ kind }) => kind === 'message-allowed')).toMatchObject([
      { rule: 'api', intent: { http: { inspected: { protocol: 'websocket', text: true } } } },
    ]);
    const bytes = Buffer.alloc(300_000, 7);
    client.send(bytes);
    const [back, isBinary] = await once(client, 'message');
    expect([bytes.equals(back), isBinary]).toEqual([true, true]);
    client.ping('are you there');
    expect(String((await once(client, 'pong'))[0])).toBe('are you there');
    client.close(4000, 'done');
    await expect
      .poll(() => requestRecord(it.it))
      .toMatchObject({ httpStatus: 101, bytesOut: expect.any(Number) });
    expect(requestRecord(it.it)?.intent.http).toEqual({
      method: 'GET',
      path: '/chat/1',
      scheme: 'https',
      inspected: { protocol: 'websocket' },
    });
    expect(it.closes).toEqual([4000]);
    expect(it.requests[0]?.url).toBe('/chat/1?x=y');
    expect(it.requests[0]?.headers.host).toBe(`api.test:${it.it.port}`);
  });

  test('the origin’s close reaches the client', async () => {
    await using it = await chat(CHAT);
    const [code, reason] = await once(await it.open('/chat/bye'), 'close');
    expect([code, String(reason)]).toEqual([4001, 'bye now']);
  });

  test('an origin that wants none, or goes away, is told in its own words', async () => {
    await using it = await chat(CHAT);
    expect(await answer(await it.open('/chat/refused'))).toEqual({ status: 401, body: 'login' });
    expect(await answer(await it.open('/chat/rude'))).toMatchObject({ status: 502 });
  });

  test('is opened only where a rule says so', async () => {
    await using it = await chat(CHAT);
    const { status, body } = await answer(await it.open('/admin'));
    expect(status).toBe(403);
    expect(JSON.parse(body)).toMatchObject({ reason: 'request_not_listed' });
    expect(it.requests).toEqual([]);
  });

  test('text that no rule allows ends it with the code of a policy', async () => {
    await using it = await chat(LISTEN);
    const client = await opened(await it.open('/feed'));
    client.send(Buffer.from('bytes pass'));
    expect(await message(client)).toBe('bytes pass');
    client.send('text does not');
    const [code, reason] = await once(client, 'close');
    expect([code, String(reason)]).toEqual([1008, expect.stringContaining('WEBSOCKET_TEXT')]);
    expect(await it.it.world.fact('connection-denied')).toMatchObject({ reason: 'request_not_listed' });
    expect(it.messages).toEqual(['bytes pass']);
    expect(it.it.world.facts.filter(({ kind }) => kind === 'message-allowed')).toEqual([]);
  });

  test('in audit, text that no rule allows passes and is told', async () => {
    await using it = await chat(`${LISTEN}, enforcement: audit`);
    const client = await opened(await it.open('/feed'));
    client.send('text');
    expect(await message(client)).toBe('text');
    expect(await it.it.world.fact('request-violation')).toMatchObject({ reason: 'request_not_listed' });
    client.terminate();
  });

  test('is no way for other requests', async () => {
    await using it = await chat(CHAT);
    const { stdout } = await it.it.fetch(`${it.it.base}/chat/1`);
    expect(JSON.parse(stdout.toString())).toMatchObject({ reason: 'protocol_not_inspected' });
  });

  test('passes a rest endpoint as a GET, and no endpoint whose bodies are read', async () => {
    await using rest = await chat('protocol: rest, access: read-only');
    const client = await opened(await rest.open('/any'));
    client.send('text');
    expect(await message(client)).toBe('text');
    client.close();
    await using mcp = await chat('protocol: mcp, rules: [{allow: {method: "*"}}]');
    expect(await answer(await mcp.open('/any'))).toMatchObject({ status: 403 });
  });

  test('a policy that takes the right away closes it', async () => {
    await using it = await chat(CHAT);
    const client = await opened(await it.open('/chat/1'));
    const other = await opened(await it.open('/chat/2'));
    const narrower = CHAT.replaceAll('/chat/**', '/chat/2');
    // The tunnel of the first stays: only what is in it has lost its right.
    expect(it.it.world.egress.replacePolicy(compilePolicy(rules(it.it.port, narrower)))).toBe(1);
    expect((await once(client, 'close'))[0]).toBe(1008);
    other.send('still here');
    expect(await message(other)).toBe('still here');
    other.terminate();
  });

  test.each([
    ['text was allowed', '{allow: {method: "*", path: "/**"}}'],
    ['only binary messages went', '{allow: {method: GET, path: "/**"}}'],
  ])('a policy by which it carries GraphQL closes it, where %s', async (_, rule) => {
    await using it = await chat(`protocol: websocket, rules: [${rule}]`);
    const client = await opened(await it.open('/chat', ['graphql-transport-ws']));
    const graphql = `protocol: websocket, rules: [${rule}, {allow: {operation_type: query, fields: [hello]}}]`;
    expect(it.it.world.egress.replacePolicy(compilePolicy(rules(it.it.port, graphql)))).toBe(1);
    expect((await once(client, 'close'))[0]).toBe(1008);
  });

  test('a message that is too long ends it', async () => {
    await using it = await chat(CHAT, { limits: { clientMessageBytes: 1000 } });
    const client = await opened(await it.open('/chat/1'));
    client.send('x'.repeat(1001));
    expect((await once(client, 'close'))[0]).toBe(1009);
    expect(it.messages).toEqual([]);
  });

  test('there are not more than there may be', async () => {
    await using it = await chat(CHAT, { limits: { webSockets: 1 } });
    const first = await opened(await it.open('/chat/1'));
    expect(await answer(await it.open('/chat/1'))).toMatchObject({ status: 503 });
    first.close();
    await once(first, 'close');
    await expect.poll(() => requestRecord(it.it)).toBeDefined();
    const second = await opened(await it.open('/chat/1'));
    second.terminate();
  });
});

const HANDSHAKE = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Version': '13',
};

describe('handshakes', () => {
  test.each<[string, Record<string, string>, string?]>([
    ['no key', { 'Sec-WebSocket-Key': '' }],
    ['a short key', { 'Sec-WebSocket-Key': 'AAAA' }],
    ['another version', { 'Sec-WebSocket-Version': '8' }],
    ['no version', { 'Sec-WebSocket-Version': '' }],
    ['a body', { 'Content-Length': '5' }],
    ['chunks', { 'Transfer-Encoding': 'chunked' }],
    ['another method', {}, 'POST'],
  ])('with %s go no further', async (_what, fields, method = 'GET') => {
    await using it = await chat(CHAT);
    const socket = await tunnel(it.it.world, it.it.port, 'http/1.1');
    const lines = Object.entries({ ...HANDSHAKE, ...fields }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`${method} /chat/1 HTTP/1.1\r\nHost: api.test:${it.it.port}\r\n${lines.join('')}\r\n`);
    const [bytes] = await once(socket, 'data');
    expect(String(bytes)).toMatch(/^HTTP\/1.1 400 /);
    expect(it.requests).toEqual([]);
    socket.destroy();
  });

  test('bytes that are no frames end it, and reach nobody', async () => {
    await using it = await chat(CHAT);
    const socket = await tunnel(it.it.world, it.it.port, 'http/1.1');
    const lines = Object.entries(HANDSHAKE).map(([name, value]) => `${name}: ${value}\r\n`);
    // An unmasked frame, behind which a request hides.
    const hidden = `GET /admin HTTP/1.1\r\nHost: api.test:${it.it.port}\r\n\r\n`;
    socket.write(
      `GET /chat/1 HTTP/1.1\r\nHost: api.test:${it.it.port}\r\n${lines.join('')}\r\n\x81\x05hello${hidden}`,
    );
    let text = '';
    for await (const chunk of socket) text += chunk.toString('latin1');
    expect(text).toMatch(/^HTTP\/1.1 101 /);
    // A close frame with 1002, protocol error.
    expect(text.slice(-4)).toBe('\x88\x02\x03\xea');
    expect(it.messages).toEqual([]);
    expect(it.requests).toHaveLength(1);
  });
});

test.each(['forward', 'transparent'])('in the clear, by %s, where nothing is inspected', async (way) => {
  const server = createHttp();
  new WebSocketServer({ server }).on('connection', (peer) =>
    peer.on('message', (data) => peer.send(`${data}!`)),
  );
  await using origin = await listen(server);
  await using world = await startWorld(rules(origin.port, 'enforcement: ""'));
  world.dialled = { address: '192.0.2.1', port: origin.port };
  const host = `api.test:${origin.port}`;
  const socket = connect(way === 'forward' ? world.proxyPort : world.transparentPort, '127.0.0.1');
  const client = new WebSocket(`ws://${host}/`, {
    createConnection: () => socket,
    finishRequest(request) {
      if (way === 'forward') request.path = `http://${host}/`;
      request.end();
    },
  });
  await opened(client);
  client.send('hello');
  expect(await message(client)).toBe('hello!');
  client.terminate();
});

describe('credentials', () => {
  const TOKEN = 'openshell:resolve:env:TOKEN';
  const SECRET = 'a"b-secret';
  const credentials = () =>
    new CredentialStore(
      parseCredentials(`version: 1\ncredentials: { TOKEN: { value: '${SECRET}', provider: api } }`),
    );
  const BOUND = 'credential_binding: {provider: api}';

  test.each([
    ['without protocol', `${BOUND}, websocket_credential_rewrite: true`],
    ['of its own', `${CHAT}, ${BOUND}, websocket_credential_rewrite: true`],
  ])('go into the request and into texts of an endpoint %s, and not into bytes', async (_, keys) => {
    await using it = await chat(keys, { credentials: credentials() });
    const client = await opened(await it.open('/chat/1', [], { headers: { 'X-Token': TOKEN } }));
    expect(it.requests[0]?.headers['x-token']).toBe(SECRET);
    client.send(`{"token":"${TOKEN}"}`);
    expect(await message(client)).toBe(JSON.stringify({ token: SECRET }));
    client.send(`login ${TOKEN}`);
    expect(await message(client)).toBe(`login ${SECRET}`);
    client.send(Buffer.from(TOKEN));
    expect((await once(client, 'close'))[0]).toBe(1008);
    expect(it.messages).toHaveLength(2);
    expect(await it.it.world.fact('connection-denied')).toMatchObject({
      reason: 'credential_endpoint_mismatch',
    });
    expect(JSON.stringify(it.it.world.facts)).not.toContain('-secret');
  });

  test('that came with messages are on record too', async () => {
    await using it = await chat(`${BOUND}, websocket_credential_rewrite: true`, {
      credentials: credentials(),
    });
    const client = await opened(await it.open('/chat/1'));
    client.send(`login ${TOKEN}`);
    await message(client);
    client.close();
    await expect
      .poll(() => it.it.world.facts)
      .toContainEqual(expect.objectContaining({ kind: 'connection-closed', credentials: ['TOKEN'] }));
  });

  test.each([
    ['/admin/../chat/./1', ['/chat/1']],
    ['/admin/..%2fchat/1', []],
  ])('that messages may use later are for the path the origin is asked for: %s', async (path, asked) => {
    await using it = await chat(`${BOUND}, websocket_credential_rewrite: true`, {
      credentials: credentials(),
    });
    const client = await it.open('/', [], {
      finishRequest(request) {
        request.path = path;
        request.end();
      },
    });
    await (asked.length > 0 ? opened(client) : answer(client));
    expect(it.requests.map(({ url }) => url)).toEqual(asked);
    client.terminate();
  });

  test.each([
    ['a text where nothing is rewritten', BOUND, TOKEN],
    ['an unknown one', `${BOUND}, websocket_credential_rewrite: true`, 'openshell:resolve:env:OTHER'],
  ])('a placeholder in %s ends it', async (_, keys, text) => {
    await using it = await chat(keys, { credentials: credentials() });
    const client = await opened(await it.open('/chat/1'));
    client.send(text);
    const [code, reason] = await once(client, 'close');
    expect([code, String(reason)]).toEqual([1008, expect.stringMatching(/placeholder|credential/)]);
    expect(it.messages).toEqual([]);
  });

  test('a policy that takes the rewriting away ends one that may still be rewritten', async () => {
    await using it = await chat(`${BOUND}, websocket_credential_rewrite: true`, {
      credentials: credentials(),
    });
    const client = await opened(await it.open('/chat/1'));
    const closed = once(client, 'close');
    expect(it.it.world.egress.replacePolicy(compilePolicy(rules(it.it.port, BOUND)))).toBe(1);
    expect((await closed)[0]).toBe(1008);
  });
});
