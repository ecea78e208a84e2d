/** Secrets in the place of placeholders: real curl, over each version of HTTP, in the proxy’s own way and inside opened TLS. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseCredentials } from '../../src/credential/parse.ts';
import { CredentialStore } from '../../src/credential/store.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { curl, listen, rawClient, startWorld } from './egress-world.ts';
import {
  type Inspected,
  type InspectedOptions,
  inspected as inspectedWith,
  origin,
  rules,
  tunnel,
  type Version,
} from './inspect-world.ts';

const SECRET = 's3cr3t-Token/with+odd=chars';
const PASSWORD = 'p:a"ss w0rd';
const TELEGRAM = '123456:AAE-bot_token';
const TOKEN = 'openshell:resolve:env:TOKEN';
const FILE = `version: 1
credentials:
  TOKEN: { value: "${SECRET}", provider: api }
  PASSWORD: { value: '${PASSWORD}', provider: api }
  BOT: { value: "${TELEGRAM}", provider: api }
  OLD: { value: abcdefgh, provider: api, expires: 2001-01-01T00:00:00Z }
  HEADER_ONLY: { value: hhhhhhhh, provider: api, places: ["header:x-api-key"] }
  ELSEWHERE: { value: elsewhere-secret, endpoints: [{ host: other.test }] }
`;
const BOUND = 'credential_binding: {provider: api}';
const REST = `protocol: rest, rules: [{allow: {method: "*", path: "/**"}}], ${BOUND}`;

const store = (file = FILE): CredentialStore => new CredentialStore(parseCredentials(file));

function inspected(keys: string, options: InspectedOptions = {}) {
  return inspectedWith(keys, { credentials: store(), ...options });
}

/** For curl: more than an argument may hold. */
function large({ certificate }: Pick<Inspected, 'certificate'>, text: string): string {
  const path = join(dirname(certificate.path), 'body');
  writeFileSync(path, text);
  return `@${path}`;
}

const secretsIn = (value: unknown): boolean =>
  [SECRET, PASSWORD, TELEGRAM, encodeURIComponent(SECRET)].some((secret) =>
    JSON.stringify(value).includes(JSON.stringify(secret).slice(1, -1)),
  );

describe.each<[Version, Version]>([
  ['1.1', '1.1'],
  ['2', '1.1'],
  ['2', '2'],
])('from HTTP/%s to HTTP/%s', (client, server) => {
  const bound = (keys = BOUND) => inspected(keys, { client, server });

  test.each([
    ['an endpoint without protocol, whose TLS is opened for it', BOUND],
    ['an inspected one', REST],
  ])('a header: %s', async (_, keys) => {
    await using it = await bound(keys);
    const { stdout, stderr } = await it.fetch('-H', `Authorization: Bearer ${TOKEN}`, `${it.base}/v1`);
    expect(stdout.toString(), stderr).toBe(`GET api.test:${it.port} /v1 \n`);
    expect(it.heard.headers[0]).toMatchObject({ authorization: `Bearer ${SECRET}` });
    const allowed = await it.world.fact('connection-closed');
    expect(it.world.facts).toContainEqual(
      expect.objectContaining({ kind: 'connection-allowed', credentials: ['TOKEN'] }),
    );
    expect(secretsIn([it.world.facts, allowed])).toBe(false);
  });

  test('Basic authentication, a query, a path, each written as its place wants it', async () => {
    await using it = await bound(REST);
    const target = `${it.base}/botopenshell:resolve:env:BOT/send?a=1&key=openshell%3Aresolve%3Aenv%3APASSWORD&b=%20`;
    const { stderr } = await it.fetch('--user', 'me:openshell:resolve:env:PASSWORD', target);
    expect(it.heard.requests, stderr).toEqual([
      `GET api.test:${it.port} /bot${TELEGRAM}/send?a=1&key=p%3Aa%22ss%20w0rd&b=%20 `,
    ]);
    expect(it.heard.headers[0]).toMatchObject({
      authorization: `Basic ${Buffer.from(`me:${PASSWORD}`).toString('base64')}`,
    });
    const closed = await it.world.fact('connection-closed');
    expect(closed.intent.http?.path).toBe('/bot[CREDENTIAL]/send');
    expect(secretsIn(it.world.facts)).toBe(false);
  });

  test.each([
    ['unknown', ['-H', 'X-A: openshell:resolve:env:NOBODY'], 'no credential is known by the name NOBODY'],
    ['expired', ['-H', 'X-A: openshell:resolve:env:OLD'], 'the credential OLD has expired'],
    ['malformed', ['-H', 'X-A: openshell:resolve:env:'], 'malformed'],
    ['in another case', ['-H', 'X-A: OpenShell:Resolve:Env:TOKEN'], 'malformed'],
    ['encoded in a header', ['-H', 'X-A: openshell%253Aresolve%3aenv%3aTOKEN'], 'malformed'],
    [
      'with a handle of another',
      ['-H', `X-A: openshell:resolve:env:s${'a'.repeat(64)}_TOKEN`],
      'no credential',
    ],
  ])('a placeholder that is %s is told of, and goes nowhere', async (_, args, detail) => {
    await using it = await bound();
    const { stdout } = await it.fetch(...args, `${it.base}/`);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      error: 'credential_unavailable',
      detail: expect.stringContaining(detail),
    });
    expect(it.connections()).toBe(0);
  });

  test.each([
    [
      'at an endpoint of another',
      ['-H', 'X-A: openshell:resolve:env:ELSEWHERE'],
      'ELSEWHERE may not go to api.test',
    ],
    ['in a header that comes back', ['-H', `Origin: ${TOKEN}`], '(header:origin)'],
    ['in another header than its own', ['-H', 'X-B: openshell:resolve:env:HEADER_ONLY'], '(header:x-b)'],
    [
      'in a request that comes back',
      ['-X', 'TRACE', '-H', `X-A: ${TOKEN}`],
      'a TRACE request would bring TOKEN back',
    ],
    ['in a body', ['-d', `{"a":"${TOKEN}"}`], 'stands in a body'],
    ['in a form', ['--data-urlencode', `a=${TOKEN}`], 'stands in a body'],
    ['in a chunked body', ['-H', 'Transfer-Encoding: chunked', '-d', `xx${TOKEN}`], 'stands in a body'],
  ])('a placeholder %s is refused, and found', async (_, args, detail) => {
    await using it = await bound();
    const { stdout } = await it.fetch(...args, `${it.base}/`);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      error: 'policy_denied',
      reason: 'credential_endpoint_mismatch',
      detail: expect.stringContaining(detail),
    });
    expect(it.heard.requests).toEqual([]);
    expect(await it.world.fact('connection-denied')).toMatchObject({
      reason: 'credential_endpoint_mismatch',
    });
  });

  test('bodies, where the endpoint asks for it', async () => {
    await using it = await bound(`${BOUND}, request_body_credential_rewrite: true`);
    const json = ['-H', 'Content-Type: application/json'];
    await it.fetch(...json, '-d', '{"p":"openshell:resolve:env:PASSWORD"}', `${it.base}/`);
    await it.fetch(
      '-H',
      'Transfer-Encoding: chunked',
      '--data-urlencode',
      `p=${TOKEN}`,
      '-d',
      'q=1',
      `${it.base}/`,
    );
    await it.fetch('-H', 'Content-Type: text/plain', '-d', `a ${TOKEN} b`, `${it.base}/`);
    expect(it.heard.requests.map((line) => line.split(' ').slice(3).join(' '))).toEqual([
      JSON.stringify({ p: PASSWORD }),
      `p=${encodeURIComponent(SECRET)}&q=1`,
      `a ${SECRET} b`,
    ]);
    const tooLarge = await it.fetch(...json, '-d', large(it, 'x'.repeat(300_000)), `${it.base}/`);
    expect(tooLarge.stdout.toString()).toContain('the body is larger than 262144 bytes');
  });

  test('bodies that cannot be rewritten still pass, and are looked through', async () => {
    await using it = await bound(`${BOUND}, request_body_credential_rewrite: true`);
    const octets = ['-H', 'Content-Type: application/octet-stream'];
    const { stdout } = await it.fetch(
      ...octets,
      '--data-binary',
      large(it, 'x'.repeat(500_000)),
      `${it.base}/`,
    );
    expect(stdout.toString()).toContain('x'.repeat(1000));
    const refused = await it.fetch(
      ...octets,
      '-d',
      large(it, `${'x'.repeat(300_000)}${TOKEN}`),
      `${it.base}/`,
    );
    expect(refused.stdout.toString()).toContain('credential_endpoint_mismatch');
  });

  test('placeholders pass in bodies where the policy lets them', async () => {
    await using it = await bound(`${BOUND}, allow_uninspected_credentials: true`);
    await it.fetch('-d', TOKEN, `${it.base}/`);
    expect(it.heard.requests[0]).toContain(` ${TOKEN}`);
  });
});

test('what no credential is bound to sends none, whoever asks', async () => {
  await using it = await inspected('protocol: rest, rules: [{allow: {method: "*", path: "/**"}}]');
  const { stdout } = await it.fetch('-H', `Authorization: Bearer ${TOKEN}`, `${it.base}/`);
  expect(stdout.toString()).toContain('credential_endpoint_mismatch');
  expect(it.connections()).toBe(0);
});

describe('a credential that names its own endpoints', () => {
  const own = (port: number, path: string, host = 'api.test') =>
    store(`version: 1
credentials: { TOKEN: { value: "${SECRET}", endpoints: [{ host: "${host}", port: ${port}, path: "${path}" }] } }`);

  async function world(path: string, keys: string, host?: string) {
    const heard = origin();
    const credentials = store('version: 1\ncredentials: {}');
    const it = await inspected(keys, { credentials, mayInspect: true, handler: heard.handler });
    credentials.replace(parseCredentialsOf(it.port, path, host));
    return { it, heard };
  }
  const parseCredentialsOf = (port: number, path: string, host = 'api.test') =>
    parseCredentials(`version: 1
credentials: { TOKEN: { value: "${SECRET}", endpoints: [{ host: "${host}", port: ${port}, path: "${path}" }] } }`);

  test('opens their TLS, and a policy that leaves it closed wins', async () => {
    const { it, heard } = await world('/**', 'tls: ""');
    await using _it = it;
    await it.fetch('-H', `X-A: ${TOKEN}`, `${it.base}/`);
    expect(heard.headers[0]).toMatchObject({ 'x-a': SECRET });
    const closed = await world('/**', 'tls: skip');
    await using _closed = closed.it;
    await closed.it.fetch(
      '--cacert',
      closed.it.certificate.path,
      '-H',
      `X-A: ${TOKEN}`,
      `${closed.it.base}/`,
    );
    expect(closed.heard.headers[0]).toMatchObject({ 'x-a': TOKEN });
  });

  test.each([
    ['/repos/x', true],
    ['/repos/../admin', false],
    ['/repos/%2e%2e/admin', false],
    ['/repos/..%2fadmin', false],
    ['/repos/..;/admin', false],
    ['//repos/x', false],
    ['/admin', false],
    ['/repos/x%2fy', true],
  ])('only for their path: %s', async (path, goes) => {
    const { it, heard } = await world('/repos/**', 'tls: ""');
    await using _it = it;
    await it.fetch('--path-as-is', '-H', `X-A: ${TOKEN}`, `${it.base}${path}`);
    expect(heard.headers.map((fields) => fields['x-a'])).toEqual(goes ? [SECRET] : []);
  });

  test('for a body too the path goes out as it was read', async () => {
    const { it, heard } = await world('/repos/**', 'request_body_credential_rewrite: true');
    await using _it = it;
    await it.fetch('--path-as-is', '--data-urlencode', `a=${TOKEN}`, `${it.base}/admin/../repos/x`);
    expect(heard.requests.map((line) => line.split(' ')[2])).toEqual(['/repos/x']);
  });

  test('also by a wildcard, which other names do not match', async () => {
    const { it, heard } = await world('/**', 'tls: ""', '*.api.test');
    await using _it = it;
    expect((await it.fetch('-H', `X-A: ${TOKEN}`, `${it.base}/`)).code).not.toBe(0);
    expect(heard.requests).toEqual([]);
    expect(own(1, '/**', '*.test.example').opens('a.test.example', 1)).toBe(true);
    expect(own(1, '/**', '*.test.example').opens('a.b.test.example', 1)).toBe(false);
  });
});

describe('plain HTTP', () => {
  async function plain(keys: string) {
    const heard = origin();
    const server = await listen(createServer(heard.handler));
    const world = await startWorld(rules(server.port, keys), { credentials: store() });
    return { heard, server, world, url: `http://api.test:${server.port}/` };
  }

  test('carries no secret unless the policy says so', async () => {
    const { heard, server, world, url } = await plain(BOUND);
    await using _held = server;
    await using _world = world;
    const { stdout } = await curl(world, '-H', `X-A: ${TOKEN}`, url);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      reason: 'credential_endpoint_mismatch',
      detail: expect.stringContaining('allow_cleartext_credentials'),
    });
    expect(heard.requests).toEqual([]);
  });

  test('carries it where it does, also when the tunnel was not for TLS', async () => {
    const { heard, server, world, url } = await plain(`${BOUND}, allow_cleartext_credentials: true`);
    await using _held = server;
    await using _world = world;
    await curl(world, '-H', `X-A: ${TOKEN}`, url);
    await curl(world, '--proxytunnel', '-H', `X-A: ${TOKEN}`, url);
    expect(heard.headers.map((fields) => fields['x-a'])).toEqual([SECRET, SECRET]);
  });

  test('ends where a later policy says so no more', async () => {
    const { promise: begun, resolve: asked } = Promise.withResolvers<void>();
    await using server = await listen(
      createServer((_request, response) => {
        response.write('begun');
        asked();
      }),
    );
    const clear = `${BOUND}, allow_cleartext_credentials: true`;
    await using world = await startWorld(rules(server.port, clear), { credentials: store() });
    const client = rawClient(
      world.proxyPort,
      `GET http://api.test:${server.port}/ HTTP/1.1\r\nHost: api.test:${server.port}\r\nX-A: ${TOKEN}\r\n\r\n`,
    );
    await begun;
    expect(world.egress.replacePolicy(compilePolicy(rules(server.port, clear)))).toBe(0);
    expect(world.egress.replacePolicy(compilePolicy(rules(server.port, BOUND)))).toBe(1);
    client.socket.destroy();
  });

  test('trailers and header names are no place for a placeholder', async () => {
    const { heard, server, world } = await plain(`${BOUND}, allow_cleartext_credentials: true`);
    await using _held = server;
    await using _world = world;
    const head = `POST http://api.test:${server.port}/ HTTP/1.1\r\nHost: api.test:${server.port}\r\n`;
    const chunked = `${head}Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nab\r\n0\r\nX-T: ${TOKEN}\r\n\r\n`;
    const trailers = rawClient(world.proxyPort, chunked);
    expect(await trailers.until(/\}\n/)).toContain('trailer field');
    trailers.socket.destroy();
    const named = rawClient(
      world.proxyPort,
      `${head}OPENSHELL-RESOLVE-ENV-TOKEN: 1\r\nContent-Length: 0\r\n\r\n`,
    );
    expect(await named.until(/\}\n/)).toContain('name of a header');
    named.socket.destroy();
    expect(heard.requests).toEqual([]);
  });
});

test('a placeholder in pieces, whatever they are, is found before its end is out', async () => {
  await using it = await inspected(BOUND);
  const text = `before ${TOKEN} after`;
  for (const size of [1, 7, 22]) {
    const socket = await tunnel(it.world, it.port, 'http/1.1');
    socket.write(`POST / HTTP/1.1\r\nHost: api.test:${it.port}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    for (let at = 0; at < text.length; at += size) {
      const piece = text.slice(at, at + size);
      socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`);
    }
    socket.write('0\r\n\r\n');
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    expect(answer).toContain('credential_endpoint_mismatch');
  }
  expect(it.heard.requests).toEqual([]);
});

test('what an origin waits for is not held back', async () => {
  await using it = await inspected(BOUND, {
    handler(request, response) {
      request.once('data', (chunk: Buffer) => response.end(`had ${chunk}`));
    },
  });
  const socket = await tunnel(it.world, it.port, 'http/1.1');
  socket.write(
    `POST / HTTP/1.1\r\nHost: api.test:${it.port}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nask\r\n`,
  );
  let answer = '';
  for await (const chunk of socket) {
    answer += chunk;
    if (answer.includes('had ask')) break;
  }
  expect(answer).toContain('had ask');
});

test('a policy that takes the binding away ends what carries the secret, and nothing else', async () => {
  let asked = (): void => {};
  const both = new Promise<void>((resolve) => {
    asked = resolve;
  });
  let count = 0;
  await using it = await inspected(BOUND, {
    handler(_request, response) {
      response.writeHead(200);
      response.write('begun');
      count += 1;
      if (count === 2) asked();
    },
  });
  const [secret, bare] = await Promise.all(
    [`X-A: ${TOKEN}`, 'X-A: nothing'].map(async (field) => {
      const socket = await tunnel(it.world, it.port, 'http/1.1');
      socket.write(`GET / HTTP/1.1\r\nHost: api.test:${it.port}\r\n${field}\r\n\r\n`);
      return socket;
    }),
  );
  await both;
  const closed = new Promise((resolve) => secret?.resume().once('close', resolve));
  const next = rules(it.port, 'credential_binding: {provider: another}');
  expect(it.world.egress.replacePolicy(compilePolicy(next))).toBe(1);
  await closed;
  expect(bare?.destroyed).toBe(false);
  bare?.destroy();
  expect(it.world.facts).toContainEqual(
    expect.objectContaining({ kind: 'connection-denied', reason: 'credential_endpoint_mismatch' }),
  );
});
