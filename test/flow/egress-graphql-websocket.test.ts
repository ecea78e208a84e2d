/** GraphQL over WebSockets through the egress: the library's own client and server, each operation judged on its way. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import type { ExecutionResult } from 'graphql';
import { type Client, createClient } from 'graphql-ws';
import { useServer } from 'graphql-ws/use/ws';
import { describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { parseCredentials } from '../../src/credential/parse.ts';
import { CredentialStore } from '../../src/credential/store.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { type Inspected, type InspectedOptions, inspected, rules, tunnel } from './inspect-world.ts';

// The very copy that the library loads.
const { buildSchema } = createRequire(import.meta.url)('graphql') as typeof import('graphql');

const OPEN = '{allow: {method: GET, path: /graphql}}';
const KEYS = (more: string) => `protocol: websocket, rules: [${OPEN}, ${more}]`;
const TICKS = KEYS(
  '{allow: {operation_type: subscription, fields: [tick]}}, {allow: {operation_type: query, fields: [hello]}}',
);
const schema = buildSchema(`
  type Query { hello: String }
  type Mutation { drop: String }
  type Subscription { tick: Int, endless: Int }
`);

interface Graphql extends AsyncDisposable {
  readonly it: Inspected;
  /** Root fields of the operations the origin was asked for. */
  readonly asked: string[];
  client(): Promise<Client>;
  socket(protocol: string | string[]): Promise<WebSocket>;
}

async function graphql(keys: string, options: Partial<InspectedOptions> = {}): Promise<Graphql> {
  const asked: string[] = [];
  const it = await inspected(keys, {
    raw({ key, cert }) {
      const server = createHttps({ key, cert });
      const sockets = new WebSocketServer({ noServer: true });
      const older = new WebSocketServer({ noServer: true });
      useServer(
        {
          schema,
          onSubscribe(_context, _id, { query }) {
            asked.push(query);
          },
          roots: {
            query: { hello: () => 'world' },
            mutation: { drop: () => 'dropped' },
            subscription: {
              async *tick() {
                for (const tick of [1, 2]) yield { tick };
              },
              async *endless() {
                yield { endless: 1 };
                await new Promise(() => {});
              },
            },
          },
        },
        sockets,
      );
      server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
        if (request.headers['sec-websocket-protocol']?.startsWith('graphql-transport-ws'))
          return sockets.handleUpgrade(request, socket, head, (peer) =>
            sockets.emit('connection', peer, request),
          );
        // The older subprotocol has no server any more: what reaches the origin is all that counts here.
        return older.handleUpgrade(request, socket, head, (peer) =>
          peer.on('message', (data) => {
            asked.push(String(data));
            peer.send(String(data));
          }),
        );
      });
      return server;
    },
    ...options,
  });
  const url = `ws://api.test:${it.port}/graphql`;
  return {
    it,
    asked,
    async client() {
      const socket = await tunnel(it.world, it.port, 'http/1.1');
      return createClient({
        url,
        retryAttempts: 0,
        // One connection for all.
        lazyCloseTimeout: 60_000,
        webSocketImpl: class extends WebSocket {
          constructor(address: string, protocols: string[]) {
            super(address, protocols, { createConnection: () => socket });
          }
        },
      });
    },
    async socket(protocol) {
      const socket = await tunnel(it.world, it.port, 'http/1.1');
      const client = new WebSocket(url, protocol, { createConnection: () => socket });
      client.on('error', () => {});
      return client;
    },
    [Symbol.asyncDispose]: () => it[Symbol.asyncDispose](),
  };
}

async function results(client: Client, query: string): Promise<ExecutionResult[]> {
  const all: ExecutionResult[] = [];
  for await (const result of client.iterate({ query })) all.push(result as ExecutionResult);
  return all;
}
const message = async (client: WebSocket) => JSON.parse(String((await once(client, 'message'))[0]));
const operationsOf = ({ world }: Inspected) =>
  world.facts
    .filter((fact) => fact.kind === 'message-allowed')
    .flatMap(({ intent }) => intent.http.inspected?.operations ?? []);

describe('operations over a WebSocket', () => {
  test('are judged one by one, and the connection goes on', async () => {
    await using it = await graphql(TICKS);
    const client = await it.client();
    expect(await results(client, 'subscription Ticks { tick }')).toEqual([
      { data: { tick: 1 } },
      { data: { tick: 2 } },
    ]);
    await expect(results(client, 'mutation { drop }')).rejects.toMatchObject([
      { extensions: { code: 'POLICY_DENIED', denial: { reason: 'request_not_listed' } } },
    ]);
    expect(await results(client, '{ alias: hello }')).toEqual([{ data: { alias: 'world' } }]);
    expect(it.asked).toEqual(['subscription Ticks { tick }', '{ alias: hello }']);
    expect(operationsOf(it.it)).toEqual([
      { type: 'subscription', name: 'Ticks', fields: ['tick'] },
      { type: 'query', name: '', fields: ['hello'] },
    ]);
    expect(it.it.world.facts.find(({ kind }) => kind === 'connection-denied')).toMatchObject({
      reason: 'request_not_listed',
      intent: { http: { inspected: { operations: [{ type: 'mutation', fields: ['drop'] }] } } },
    });
    await client.dispose();
  });

  test('a deny rule comes first, for this operation alone', async () => {
    await using it = await graphql(
      `${KEYS('{allow: {operation_type: "*"}}')}, deny_rules: [{operation_type: mutation, fields: ["dr*"]}]`,
    );
    const client = await it.client();
    await expect(results(client, 'mutation { hidden: drop }')).rejects.toMatchObject([
      { extensions: { denial: { reason: 'request_refused' } } },
    ]);
    expect(await results(client, '{ hello }')).toEqual([{ data: { hello: 'world' } }]);
    await client.dispose();
  });

  test('in audit they pass and are told', async () => {
    await using it = await graphql(`${TICKS}, enforcement: audit`);
    const client = await it.client();
    expect(await results(client, 'mutation { drop }')).toEqual([{ data: { drop: 'dropped' } }]);
    expect(await it.it.world.fact('request-violation')).toMatchObject({
      reason: 'request_not_listed',
      intent: { http: { inspected: { operations: [{ type: 'mutation', name: '', fields: ['drop'] }] } } },
    });
    await client.dispose();
  });

  test.each([
    ['syntax', 'mutation { drop', 'is not GraphQL'],
    ['too many operations', 'query A { hello } mutation B { drop }', 'several operations'],
  ])('that cannot be read are refused: %s', async (_, query, detail) => {
    await using it = await graphql(KEYS('{allow: {operation_type: "*"}}'));
    const client = await it.client();
    await expect(results(client, query)).rejects.toMatchObject([
      { message: expect.stringContaining(detail) },
    ]);
    expect(it.asked).toEqual([]);
    await client.dispose();
  });

  test('those under way are judged again when the policy changes, and later ones by the new policy', async () => {
    await using it = await graphql(KEYS('{allow: {operation_type: subscription, fields: [endless]}}'));
    const client = await it.client();
    const running = client.iterate({ query: 'subscription { endless }' });
    expect((await running.next()).value).toEqual({ data: { endless: 1 } });
    const policy = (keys: string) => compilePolicy(rules(it.it.port, keys));
    const wider = KEYS('{allow: {operation_type: "*"}}');
    expect(it.it.world.egress.replacePolicy(policy(wider))).toBe(0);
    expect(await results(client, '{ hello }')).toEqual([{ data: { hello: 'world' } }]);
    expect(it.it.world.egress.replacePolicy(policy(TICKS))).toBe(1);
    await expect(running.next()).rejects.toMatchObject({ code: 1008 });
  });

  test('those that have ended are not', async () => {
    await using it = await graphql(KEYS('{allow: {operation_type: "*"}}'));
    const client = await it.client();
    const running = client.iterate({ query: 'subscription { endless }' });
    await running.next();
    await results(client, 'mutation { drop }');
    const policy = KEYS('{allow: {operation_type: subscription}}');
    expect(it.it.world.egress.replacePolicy(compilePolicy(rules(it.it.port, policy)))).toBe(0);
    await expect(results(client, 'mutation { drop }')).rejects.toMatchObject([
      { extensions: { denial: { reason: 'request_not_listed' } } },
    ]);
    await running.return?.(undefined);
    await client.dispose();
  });
});

describe('the messages', () => {
  test.each<[string, string, string | Buffer, RegExp]>([
    ['no JSON', 'graphql-transport-ws', '{', /not JSON/],
    ['a key twice', 'graphql-transport-ws', '{"type":"ping","type":"subscribe"}', /twice/],
    ['a list', 'graphql-transport-ws', '[{"type":"ping"}]', /no object/],
    ['no type', 'graphql-transport-ws', '{}', /no type/],
    ['an unknown type', 'graphql-transport-ws', '{"type":"Subscribe"}', /no message of this type/],
    ['a type of the other subprotocol', 'graphql-transport-ws', '{"type":"start","id":"1"}', /of this type/],
    ['a type of the newer one', 'graphql-ws', '{"type":"subscribe","id":"1"}', /of this type/],
    ['no id', 'graphql-transport-ws', '{"type":"subscribe","payload":{"query":"{hello}"}}', /no id/],
    ['an id that is no text', 'graphql-ws', '{"type":"start","id":1,"payload":{"query":"{hello}"}}', /no id/],
    ['bytes', 'graphql-transport-ws', Buffer.from('{"type":"ping"}'), /binary/],
    [
      'too much',
      'graphql-ws',
      JSON.stringify({ type: 'connection_init', payload: 'x'.repeat(70_000) }),
      /larger/,
    ],
  ])('that cannot be read end the connection: %s', async (_, protocol, data, reason) => {
    await using it = await graphql(TICKS);
    const client = await it.socket(protocol);
    await once(client, 'open');
    client.send(data);
    const [code, why] = await once(client, 'close');
    expect([code, String(why)]).toEqual([1008, expect.stringMatching(reason)]);
    expect(await it.it.world.fact('connection-denied')).toMatchObject({ reason: 'request_unreadable' });
    expect(it.asked).toEqual([]);
  });

  test('nothing behind one that ended the connection passes, and what stood before it does', async () => {
    await using it = await graphql(TICKS);
    const client = await it.socket('graphql-ws');
    await once(client, 'open');
    for (const text of [
      '{"type":"connection_init"}',
      'no JSON',
      '{"type":"start","id":"1","payload":{"query":"{hello}"}}',
    ])
      client.send(text);
    await once(client, 'close');
    await expect.poll(() => it.asked).toEqual(['{"type":"connection_init"}']);
    await expect.poll(() => it.it.world.facts.some(({ kind }) => kind === 'connection-closed')).toBe(true);
    expect(operationsOf(it.it)).toEqual([]);
  });

  test('of the older subprotocol pass too, and its clients get its errors', async () => {
    await using it = await graphql(TICKS);
    const client = await it.socket('graphql-ws');
    await once(client, 'open');
    const start = { id: '1', type: 'start', payload: { query: 'subscription { tick }' } };
    client.send(JSON.stringify(start));
    expect(await message(client)).toEqual(start);
    client.send(JSON.stringify({ ...start, id: '2', payload: { query: 'mutation { drop }' } }));
    expect(await message(client)).toMatchObject({
      id: '2',
      type: 'error',
      payload: { message: expect.any(String), extensions: { code: 'POLICY_DENIED' } },
    });
    client.send('{"id":"1","type":"stop"}');
    expect(await message(client)).toEqual({ id: '1', type: 'stop' });
    client.terminate();
  });

  test('there are not more operations under way than there may be', async () => {
    await using it = await graphql(TICKS);
    const client = await it.socket('graphql-ws');
    await once(client, 'open');
    for (let id = 0; id <= 256; id += 1)
      client.send(JSON.stringify({ id: `${id}`, type: 'start', payload: { query: '{ hello }' } }));
    const [code, why] = await once(client, 'close');
    expect([code, String(why)]).toEqual([1008, expect.stringContaining('256')]);
    expect(it.asked).toHaveLength(256);
  });
});

describe('credentials', () => {
  const TOKEN = 'openshell:resolve:env:TOKEN';
  const file = 'version: 1\ncredentials: { TOKEN: { value: a-secret, provider: api } }';
  const REWRITTEN = `${TICKS}, credential_binding: {provider: api}, websocket_credential_rewrite: true`;

  test('go into connection_init', async () => {
    await using it = await graphql(REWRITTEN, { credentials: new CredentialStore(parseCredentials(file)) });
    const client = await it.socket('graphql-ws');
    await once(client, 'open');
    client.send(JSON.stringify({ type: 'connection_init', payload: { token: TOKEN } }));
    expect(await message(client)).toMatchObject({ payload: { token: 'a-secret' } });
    client.terminate();
  });

  test.each([
    ['an id, which every answer repeats', { id: TOKEN, payload: { query: '{ hello }' } }],
    ['variables, which errors repeat', { id: '1', payload: { query: '{ hello }', variables: { a: TOKEN } } }],
  ])('go nowhere else: %s', async (_, rest) => {
    await using it = await graphql(REWRITTEN, { credentials: new CredentialStore(parseCredentials(file)) });
    const client = await it.socket('graphql-ws');
    await once(client, 'open');
    client.send(JSON.stringify({ type: 'start', ...rest }));
    const [code, why] = await once(client, 'close');
    expect([code, String(why)]).toEqual([1008, expect.stringContaining('connection_init')]);
    expect(it.asked).toEqual([]);
  });
});

describe('the opening', () => {
  test.each<[string, string[]]>([
    ['no subprotocol', []],
    ['another', ['chat']],
    ['one more that is not read', ['graphql-ws', 'chat']],
  ])('is refused with %s', async (_, protocols) => {
    await using it = await graphql(TICKS);
    const client = await it.socket(protocols);
    const [, response] = (await once(client, 'unexpected-response')) as [unknown, IncomingMessage];
    expect(response.statusCode).toBe(403);
    response.resume();
    expect(await it.it.world.fact('connection-denied')).toMatchObject({ reason: 'protocol_not_inspected' });
  });

  test('takes a rule of its own', async () => {
    await using it = await graphql('protocol: websocket, rules: [{allow: {operation_type: "*"}}]');
    const client = await it.socket('graphql-ws');
    const [, response] = (await once(client, 'unexpected-response')) as [unknown, IncomingMessage];
    expect(response.statusCode).toBe(403);
    response.resume();
  });
});
