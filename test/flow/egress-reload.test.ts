/** A policy that changes: connections under way keep their right or lose it, each by itself, and nothing slips through between. */
import { once } from 'node:events';
import { createServer as createHttp } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { createServer as createTls } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { compilePolicy } from '../../src/policy/compile.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { listen, rawClient, rule, startWorld, tcpServer } from './egress-world.ts';
import { inspected, rules, tunnel } from './inspect-world.ts';

const CONNECT = (host: string, port: number) => `CONNECT ${host}:${port} HTTP/1.1\r\nHost: x\r\n\r\n`;
const V1 = 'protocol: rest, access: full, path: "/v1/**"';
const V2 = 'protocol: rest, access: full, path: "/v2/**"';

describe('tunnels', () => {
  test('one that loses its right is closed, and the other goes on', async () => {
    await using server = await listen(tcpServer((socket) => socket.pipe(socket)));
    const [first, second] = [rule('one.test', [server.port], 'tcp'), rule('two.test', [server.port], 'tcp')];
    await using world = await startWorld([first, second]);
    const one = rawClient(world.proxyPort, CONNECT('one.test', server.port));
    const two = rawClient(world.proxyPort, CONNECT('two.test', server.port));
    for (const client of [one, two]) {
      await client.until(/200/);
      client.socket.write('hello');
      await client.until(/hello/);
    }
    expect(world.egress.replacePolicy(compilePolicy([second]))).toBe(1);
    await one.end();
    two.socket.write('again');
    await two.until(/again/);
    expect(await world.fact('connection-denied')).toMatchObject({
      intent: { host: 'one.test' },
      reason: 'host_not_listed',
      detail: expect.stringContaining('the policy has changed'),
    });
    const refused = rawClient(world.proxyPort, CONNECT('one.test', server.port));
    expect(await refused.end()).toContain('host_not_listed');
    two.socket.destroy();
  });

  test('a policy that says the same closes nothing', async () => {
    await using server = await listen(tcpServer((socket) => socket.pipe(socket)));
    const same = [rule('one.test', [server.port], 'tcp')];
    await using world = await startWorld(same);
    const client = rawClient(world.proxyPort, CONNECT('one.test', server.port));
    await client.until(/200/);
    expect(world.egress.replacePolicy(compilePolicy(structuredClone(same)))).toBe(0);
    client.socket.write('hello');
    await client.until(/hello/);
    client.socket.destroy();
  });

  test('one that went unread where requests are inspected now is closed', async () => {
    await using server = await listen(tcpServer((socket) => socket.pipe(socket)));
    await using world = await startWorld(rules(server.port, 'enforcement: ""'));
    const client = rawClient(world.proxyPort, CONNECT('api.test', server.port));
    await client.until(/200/);
    expect(world.egress.replacePolicy(compilePolicy(rules(server.port, V1)))).toBe(1);
    await client.end();
    expect(await world.fact('connection-denied')).toMatchObject({ reason: 'protocol_not_inspected' });
  });

  test.each([
    ['that may hide a name', 'tls: skip, allow_encrypted_client_hello: true', 'tls: skip'],
    ['of raw TCP', 'protocol: tcp', 'tls: skip'],
  ])('one %s is closed when it may not any more', async (_, before, after) => {
    await using server = await listen(tcpServer((socket) => socket.pipe(socket)));
    const policy = (keys: string) =>
      parsePolicy(
        `version: 1\nnetwork_policies: {r: {endpoints: [{host: a.test, port: ${server.port}, ${keys}}], binaries: [{path: /usr/bin/curl}]}}\n`,
        'p',
      ).network;
    await using world = await startWorld(policy(before));
    const client = rawClient(world.proxyPort, CONNECT('a.test', server.port));
    await client.until(/200/);
    client.socket.write('hello');
    await client.until(/hello/);
    expect(world.egress.replacePolicy(compilePolicy(policy(before)))).toBe(0);
    expect(world.egress.replacePolicy(compilePolicy(policy(after)))).toBe(1);
    await client.end();
    expect(await world.fact('connection-denied')).toMatchObject({ reason: 'name_mismatch' });
  });

  test('one whose address is no longer allowed is closed', async () => {
    let allowed = true;
    await using server = await listen(tcpServer((socket) => socket.pipe(socket)));
    const open = [rule('one.test', [server.port], 'tcp')];
    await using world = await startWorld(open, {
      check: (_verdict, _host, _port, addresses) =>
        allowed ? { ok: true, addresses } : { ok: false, address: '127.0.0.1', detail: 'not any more' },
    });
    const client = rawClient(world.proxyPort, CONNECT('one.test', server.port));
    await client.until(/200/);
    allowed = false;
    expect(world.egress.replacePolicy(compilePolicy(structuredClone(open)))).toBe(1);
    await client.end();
    expect(await world.fact('connection-denied')).toMatchObject({ reason: 'address_not_allowed' });
  });

  test('one that is being dialled is not let through', async () => {
    const resolving = Promise.withResolvers<string[]>();
    const asked = Promise.withResolvers<void>();
    await using server = await listen(tcpServer((socket) => socket.pipe(socket)));
    await using world = await startWorld([rule('one.test', [server.port], 'tcp')], {
      resolve: async () => {
        asked.resolve();
        return resolving.promise;
      },
    });
    const client = rawClient(world.proxyPort, CONNECT('one.test', server.port));
    await asked.promise;
    world.egress.replacePolicy(compilePolicy([rule('two.test', [server.port], 'tcp')]));
    resolving.resolve(['127.0.0.1']);
    expect(await client.end()).toContain('host_not_listed');
  });
});

describe('requests', () => {
  test('an answer that loses its right breaks off, and the one beside it goes on', async () => {
    const streams = new Map<string, (text: string) => void>();
    await using it = await inspected(`${V1}}, {host: api.test, port: PORT, ${V2}`, {
      server: '2',
      handler(request, response) {
        streams.set(request.url ?? '', (text) => void response.write(text));
        response.write('begun');
      },
    });
    const socket = await tunnel(it.world, it.port, 'h2');
    const session = connectHttp2(it.base, { createConnection: () => socket });
    const [one, two] = ['/v1/a', '/v2/a'].map((path) => session.request({ ':path': path }));
    if (one === undefined || two === undefined) throw new Error('there are two');
    one.on('error', () => {});
    await Promise.all([once(one, 'data'), once(two, 'data')]);
    expect(it.world.egress.replacePolicy(compilePolicy(rules(it.port, V2)))).toBe(1);
    await new Promise((resolve) => one.once('close', resolve));
    expect(one.rstCode).not.toBe(0);
    streams.get('/v2/a')?.('more');
    expect(String((await once(two, 'data'))[0])).toBe('more');
    session.destroy();
  });

  test('a body that is still coming is judged by the policy that is in force when it has come', async () => {
    const heard: string[] = [];
    await using server = await listen(
      createHttp((request, response) => {
        heard.push(request.url ?? '');
        response.end();
      }),
    );
    const allowing = (method: string) =>
      rules(server.port, `protocol: json-rpc, rules: [{allow: {method: ${method}}}]`);
    await using world = await startWorld(allowing('read'), { mayInspect: true });
    const body = '{"jsonrpc":"2.0","id":1,"method":"read"}';
    const host = `api.test:${server.port}`;
    const head = `POST http://${host}/rpc HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`;
    const client = rawClient(world.proxyPort, head);
    // Told to go on: the old policy is about to read the body.
    await client.until(/100 Continue/);
    world.egress.replacePolicy(compilePolicy(allowing('write')));
    client.socket.write(body);
    expect(await client.end()).toContain('request_not_listed');
    expect(heard).toEqual([]);
  });
});

test('requests may be inspected later, where that was foreseen', async () => {
  await using it = await inspected('enforcement: ""', {
    mayInspect: true,
    raw: ({ key, cert }) => createTls({ key, cert }, (socket) => void socket.end('HTTP/1.1 200 OK\r\n\r\n')),
  });
  expect(it.world.egress.authority).toContain('BEGIN CERTIFICATE');
  it.world.egress.replacePolicy(compilePolicy(rules(it.port, V1)));
  const { stdout } = await it.fetch(`${it.base}/v3/a`);
  expect(stdout.toString()).toContain('request_not_listed');
});
