/** Requests inside opened TLS and in the clear: each is judged by itself, by real clients, before anything is dialled. */
import { writeFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { curl, listen, makeCertificate, rawClient, run, startWorld } from './egress-world.ts';
import { inspected as inspectedWith, origin, rules, type Version } from './inspect-world.ts';

const READ = 'protocol: rest, rules: [{allow: {method: GET, path: "/v1/**"}}]';

describe.each<[Version, Version]>([
  ['1.1', '1.1'],
  ['2', '1.1'],
  ['2', '2'],
])('rest inside TLS, from HTTP/%s to HTTP/%s', (client, server) => {
  const inspected = (keys: string) => inspectedWith(keys, { client, server });

  test('an allowed request reaches the origin, over a connection that is verified', async () => {
    await using it = await inspected(READ);
    const { code, stdout, stderr } = await it.fetch(`${it.base}/v1/items?x=1`);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toBe(`GET api.test:${it.port} /v1/items?x=1 \n`);
    const closed = await it.world.fact('connection-closed');
    expect(closed).toMatchObject({
      httpStatus: 200,
      rule: 'api',
      intent: { adapter: 'connect', http: { method: 'GET', path: '/v1/items', scheme: 'https' } },
    });
  });

  test('one that no rule allows is refused in words, and does not reach it', async () => {
    await using it = await inspected(READ);
    const { stdout } = await it.fetch('-X', 'DELETE', `${it.base}/v1/items`);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      error: 'policy_denied',
      reason: 'request_not_listed',
      nearest_rule: 'api',
      rule_missing: { type: 'rest_allow', host: 'api.test', method: 'DELETE', path: '/v1/items' },
    });
    expect(it.heard.requests).toEqual([]);
    expect(await it.world.fact('connection-denied')).toMatchObject({
      reason: 'request_not_listed',
      intent: { http: { method: 'DELETE' } },
    });
  });

  test('every request of a connection is judged', async () => {
    await using it = await inspected(READ);
    const { stdout } = await it.fetch(
      `${it.base}/v1/a`,
      `${it.base}/v1/b`,
      `${it.base}/v2/c`,
      `${it.base}/v1/d`,
    );
    expect(stdout.toString()).toMatch(/\/v1\/a \n.*\/v1\/b \n.*request_not_listed.*\n.*\/v1\/d \n/s);
    expect(it.heard.requests).toHaveLength(3);
  });

  test.each([
    ['/v1/../admin', 'request_not_listed'],
    ['/v1/%2e%2e/admin', 'request_not_listed'],
    ['/v1/..%2fadmin', 'request_unreadable'],
    ['/v1/..;/admin', 'request_unreadable'],
    ['/v1/%252e%252e/admin', 'request_unreadable'],
  ])('%s does not get out of /v1', async (path, reason) => {
    await using it = await inspected(READ);
    const { stdout } = await it.fetch('--path-as-is', `${it.base}${path}`);
    expect(JSON.parse(stdout.toString())).toMatchObject({ reason });
    expect(it.heard.requests).toEqual([]);
  });

  test.each(['X-HTTP-Method-Override: DELETE', 'X-Original-URL: /admin'])(
    '%s is no way around',
    async (header) => {
      await using it = await inspected(READ);
      const { stdout } = await it.fetch('-H', header, `${it.base}/v1/a`);
      expect(JSON.parse(stdout.toString())).toMatchObject({ reason: 'request_unreadable' });
      expect(it.heard.requests).toEqual([]);
    },
  );

  test('what is judged is what is sent', async () => {
    await using it = await inspected(READ);
    await it.fetch('--path-as-is', `${it.base}/x/../v1/%61//b;c?d=%2F..%2F`);
    expect(it.heard.requests).toEqual([`GET api.test:${it.port} /v1/a//b;c?d=%2F..%2F `]);
  });

  test('a body goes through as it is', async () => {
    await using it = await inspected('protocol: rest, access: full');
    const body = 'x'.repeat(300_000);
    const sent = join(dirname(it.certificate.path), 'body');
    writeFileSync(sent, body);
    const { stdout } = await it.fetch('--data-binary', `@${sent}`, `${it.base}/up`);
    expect(stdout.toString()).toBe(`POST api.test:${it.port} /up ${body}\n`);
  });

  test('audit lets pass, and tells', async () => {
    await using it = await inspected(`${READ}, enforcement: audit`);
    await it.fetch('-X', 'DELETE', `${it.base}/v1/items`);
    expect(it.heard.requests).toHaveLength(1);
    expect(await it.world.fact('request-violation')).toMatchObject({
      reason: 'request_not_listed',
      rule: 'api',
    });
  });

  test('TLS for another name, or to no known authority, does not pass', async () => {
    await using it = await inspected(READ);
    const other = await it.fetch(
      '--connect-to',
      `other.test:${it.port}:api.test:${it.port}`,
      `https://other.test:${it.port}/v1/`,
    );
    expect(other.code).toBe(35);
    expect(await it.world.fact('connection-denied')).toMatchObject({ reason: 'name_mismatch' });
    await using untrusted = await inspected(READ);
    const strangers = makeCertificate('api.test');
    using _strangers = strangers;
    await using server = await listen(
      createHttps({ key: strangers.key, cert: strangers.cert }, untrusted.heard.handler),
    );
    await using world = await startWorld(rules(server.port, READ), { roots: [untrusted.certificate.cert] });
    const authority = join(dirname(strangers.path), 'authority.pem');
    writeFileSync(authority, world.egress.authority ?? '');
    const { stdout } = await curl(world, '--cacert', authority, `https://api.test:${server.port}/v1/`);
    expect(JSON.parse(stdout.toString())).toMatchObject({ error: 'upstream_tls_failed' });
    expect(untrusted.heard.requests).toEqual([]);
  });

  test('the Host of a request is the name of the connection', async () => {
    await using it = await inspected(READ);
    const { stdout } = await it.fetch('-H', 'Host: other.test', `${it.base}/v1/`);
    expect(JSON.parse(stdout.toString())).toMatchObject({ reason: 'name_mismatch' });
  });

  test('something else than HTTP does not pass', async () => {
    await using it = await inspected(READ);
    const client = rawClient(it.world.proxyPort, `CONNECT api.test:${it.port} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.until(/200/);
    client.socket.write('SSH-2.0-x\r\n');
    await client.end();
    expect(await it.world.fact('connection-denied')).toMatchObject({ reason: 'protocol_not_inspected' });
    expect(it.heard.requests).toEqual([]);
  });
});

describe('rest in the clear', () => {
  test.each(['forward', 'connect', 'transparent'])('by %s', async (way) => {
    const heard = origin();
    await using server = await listen(createHttp(heard.handler));
    await using world = await startWorld(rules(server.port, READ));
    world.dialled = { address: '192.0.2.1', port: server.port };
    const base = `http://api.test:${server.port}`;
    const options =
      {
        forward: ['--proxy', world.proxy],
        connect: ['--proxy', world.proxy, '--proxytunnel'],
        transparent: [
          '--noproxy',
          '*',
          '--connect-to',
          `api.test:${server.port}:127.0.0.1:${world.transparentPort}`,
        ],
      }[way] ?? [];
    const fetch = (path: string) =>
      run('curl', ['--silent', '--max-time', '20', ...options, `${base}${path}`]);
    expect((await fetch('/v1/a')).stdout.toString()).toBe(`GET api.test:${server.port} /v1/a \n`);
    expect((await fetch('/v2/a')).stdout.toString()).toContain('request_not_listed');
    expect(heard.requests).toHaveLength(1);
  });
});

const inspected = inspectedWith;

test('redirected TLS is opened too', async () => {
  await using it = await inspected(READ);
  it.world.dialled = { address: '192.0.2.1', port: it.port };
  const authority = join(dirname(it.certificate.path), 'authority.pem');
  const fetch = (path: string) =>
    run('curl', [
      ...['--silent', '--max-time', '20', '--cacert', authority, '--noproxy', '*'],
      ...['--connect-to', `api.test:${it.port}:127.0.0.1:${it.world.transparentPort}`, `${it.base}${path}`],
    ]);
  expect((await fetch('/v1/a')).stdout.toString()).toBe(`GET api.test:${it.port} /v1/a \n`);
  expect((await fetch('/v2/a')).stdout.toString()).toContain('request_not_listed');
});

const json = (body: object | string) => [
  '-H',
  'Content-Type: application/json',
  '-d',
  typeof body === 'string' ? body : JSON.stringify(body),
];

describe('mcp', () => {
  const keys =
    'protocol: mcp, rules: [{allow: {method: initialize}}, {allow: {method: tools/call, tool: "read_*"}}]';
  const call = (name: string) => ({
    jsonrpc: '2.0',
    id: 7,
    method: 'tools/call',
    params: { name, arguments: {} },
  });

  test('an allowed call passes byte for byte', async () => {
    await using it = await inspected(keys);
    await it.fetch(...json(call('read_file')), `${it.base}/mcp`);
    expect(it.heard.requests).toEqual([`POST api.test:${it.port} /mcp ${JSON.stringify(call('read_file'))}`]);
  });

  test('a refused one gets an error of its protocol, under its id', async () => {
    await using it = await inspected(keys);
    const { stdout } = await it.fetch(...json(call('drop_all')), `${it.base}/mcp`);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      jsonrpc: '2.0',
      id: 7,
      error: {
        code: -32001,
        message: expect.stringContaining('tools/call drop_all'),
        data: { reason: 'request_not_listed' },
      },
    });
    expect(it.heard.requests).toEqual([]);
  });

  test('a key that comes twice hides nothing', async () => {
    await using it = await inspected(keys);
    const body =
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_x","name":"drop_all"}}';
    const { stdout } = await it.fetch(...json(body), `${it.base}/mcp`);
    expect(stdout.toString()).toContain('the same key twice');
    expect(it.heard.requests).toEqual([]);
  });

  test('bodies that wait hold no more memory than all may have, and give it back', async () => {
    await using it = await inspected(keys, { limits: { bodyBytes: 1000, bodyRoomMs: 100 } });
    const body = JSON.stringify({
      ...call('read_file'),
      params: { name: 'read_file', arguments: { x: 'y'.repeat(700) } },
    });
    for (let round = 0; round < 3; round++) await it.fetch(...json(body), `${it.base}/mcp`);
    expect(it.heard.requests).toHaveLength(3);
    const { stdout } = await it.fetch(...json(`${body}${' '.repeat(400)}`), `${it.base}/mcp`);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      reason: 'request_unreadable',
      detail: expect.stringContaining('no room'),
    });
  });

  test('a body beyond the limit is refused', async () => {
    await using it = await inspected(`${keys}, mcp: {max_body_bytes: 100}`);
    const { stdout } = await it.fetch(...json(`[${' '.repeat(5000)}]`), `${it.base}/mcp`);
    expect(JSON.parse(stdout.toString())).toMatchObject({ reason: 'request_unreadable' });
  });
});

describe('graphql', () => {
  const keys = 'protocol: graphql, access: read-only';

  test('queries pass, mutations do not', async () => {
    await using it = await inspected(keys);
    await it.fetch(...json({ query: '{ viewer { login } }' }), `${it.base}/graphql`);
    const { stdout } = await it.fetch(...json({ query: 'mutation { drop }' }), `${it.base}/graphql`);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      errors: [{ extensions: { code: 'POLICY_DENIED' } }],
    });
    expect(it.heard.requests).toHaveLength(1);
  });

  test('neither does a mutation behind Expect', async () => {
    await using it = await inspected(keys);
    const { stdout } = await it.fetch(
      '-H',
      'Expect: 100-continue',
      ...json({ query: 'mutation { drop }' }),
      `${it.base}/`,
    );
    expect(stdout.toString()).toContain('POLICY_DENIED');
    await it.fetch('-H', 'Expect: 100-continue', ...json({ query: '{ a }' }), `${it.base}/`);
    expect(it.heard.requests).toHaveLength(1);
  });
});
