/** What HTTP/2 and connections that are used again bring: streams beside each other, gRPC, and origins that end or lie. */
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { dirname, join } from 'node:path';
import { createServer as createTls, type TLSSocket } from 'node:tls';
import {
  Server as GrpcServer,
  Metadata,
  ServerCredentials,
  type ServerDuplexStream,
  status,
} from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { parseToProcessRole } from '../../src/roles/parse.ts';
import { run } from './egress-world.ts';
import { type Inspected, inspected, tunnel, type Version } from './inspect-world.ts';

const V1 = 'protocol: rest, rules: [{allow: {method: "*", path: "/v1/**"}}]';

/** Everything a client receives until the connection ends. */
async function until(socket: TLSSocket, pattern: RegExp): Promise<string> {
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (pattern.test(text)) return text;
  }
  return `${text}<end>`;
}

test.each([
  ['method', 'A'.repeat(100), '/v1/x'],
  ['path', 'GET', `/v1/${'x'.repeat(30_000)}`],
])('a %s that no record takes is refused, and the record of that is taken', async (_, method, path) => {
  await using it = await inspected(V1);
  const socket = await tunnel(it.world, it.port, 'h2');
  const session = connectHttp2(`https://api.test:${it.port}`, { createConnection: () => socket });
  session.on('error', () => {});
  // Before its client has heard of any limit.
  const stream = session.request({ ':method': method, ':path': path });
  stream.on('error', () => {}).resume();
  await once(stream, 'close');
  session.destroy();
  await it.world.fact('connection-failed');
  for (const fact of it.world.facts) {
    const message: unknown = JSON.parse(JSON.stringify({ type: 'fact', fact }));
    expect(() => parseToProcessRole(message)).not.toThrow();
  }
  expect(it.heard.requests).toEqual([]);
});

describe('connections that are used again', () => {
  test.each<[Version, Version]>([
    ['1.1', '1.1'],
    ['2', '1.1'],
    ['2', '2'],
  ])('requests of one client, from HTTP/%s to HTTP/%s, take one connection', async (client, server) => {
    await using it = await inspected(V1, { client, server });
    const { stdout } = await it.fetch(`${it.base}/v1/a`, `${it.base}/v2/b`, '-d', 'x', `${it.base}/v1/c`);
    expect(stdout.toString()).toMatch(/\/v1\/a x\n.*request_not_listed.*\n.*\/v1\/c x\n/s);
    expect(it.connections()).toBe(client === '1.1' ? 2 : 1);
    await it.fetch(`${it.base}/v1/a`);
    expect(it.connections()).toBe(client === '1.1' ? 3 : 2);
  });

  test('many at once share one connection, and a refusal is only one of them', async () => {
    await using it = await inspected(V1, { server: '2' });
    const socket = await tunnel(it.world, it.port, 'h2');
    const session = connectHttp2(it.base, { createConnection: () => socket });
    const statuses = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const stream = session.request({ ':path': index % 3 === 0 ? '/v2/x' : `/v1/${index}` });
        const [headers] = await once(stream.resume(), 'response');
        return headers[':status'];
      }),
    );
    expect(statuses.filter((code) => code === 403)).toHaveLength(20);
    expect(statuses.filter((code) => code === 200)).toHaveLength(40);
    expect(it.connections()).toBe(1);
    session.close();
  });

  test('an address is checked for each request, and not only when it is dialled', async () => {
    let allowed = true;
    const check = (_verdict: unknown, _host: string, _port: number, addresses: readonly string[]) =>
      allowed
        ? ({ ok: true, addresses } as const)
        : ({ ok: false, address: '127.0.0.1', detail: 'not any more' } as const);
    await using it = await inspected(V1, { server: '2', check });
    const socket = await tunnel(it.world, it.port, 'h2');
    const session = connectHttp2(it.base, { createConnection: () => socket });
    const ask = async () => {
      const [headers] = await once(session.request({ ':path': '/v1/a' }).resume(), 'response');
      return headers[':status'];
    };
    expect(await ask()).toBe(200);
    allowed = false;
    expect(await ask()).toBe(403);
    expect(it.heard.requests).toHaveLength(1);
    session.destroy();
  });
});

describe('origins that end', () => {
  const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  const GET = 'GET /v1/a HTTP/1.1\r\nHost: api.test:PORT\r\n\r\n';
  const POST = 'POST /v1/a HTTP/1.1\r\nHost: api.test:PORT\r\nContent-Length: 1\r\n\r\nx';

  /** A raw origin: `onRequest` is called with the number of each piece that arrives. */
  async function rawOrigin(onRequest: (socket: TLSSocket, number: number) => void): Promise<Inspected> {
    return inspected(V1, {
      raw: ({ key, cert }) =>
        createTls({ key, cert, ALPNProtocols: ['http/1.1'] }, (socket) => {
          let number = 0;
          socket.on('error', () => {}).on('data', () => onRequest(socket, ++number));
        }),
    });
  }
  const at = (it: Inspected, text: string) => text.replace('PORT', String(it.port));

  test('an origin that closes when nothing is asked closes its client too', async () => {
    await using it = await rawOrigin((socket) => socket.write(OK, () => setImmediate(() => socket.end())));
    const client = await tunnel(it.world, it.port, 'http/1.1');
    client.write(at(it, GET));
    expect(await until(client, /never/)).toMatch(/^HTTP\/1.1 200 OK.*ok<end>$/s);
  });

  test('what an origin says unasked answers nothing', async () => {
    await using it = await rawOrigin((socket, number) => {
      socket.write(number === 1 ? OK : 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal');
      if (number === 1) setImmediate(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad'));
    });
    const client = await tunnel(it.world, it.port, 'http/1.1');
    client.write(at(it, GET));
    expect(await until(client, /never/)).not.toContain('bad');
  });

  test.each([
    ['GET', GET],
    ['POST', POST],
  ])('a %s that a kept connection loses breaks off, so that the client decides', async (_method, request) => {
    await using it = await rawOrigin((socket, number) =>
      number === 1 ? void socket.write(OK) : void socket.destroy(),
    );
    const client = await tunnel(it.world, it.port, 'http/1.1');
    client.write(at(it, GET));
    await until(client, /ok$/);
    client.write(at(it, request));
    const rest = await until(client, /never/).catch(() => '<end>');
    expect(rest).toBe('<end>');
    expect(await it.world.fact('connection-failed')).toMatchObject({ rule: 'api' });
  });

  test('one that a new connection loses is answered', async () => {
    await using it = await rawOrigin((socket) => void socket.destroy());
    const client = await tunnel(it.world, it.port, 'http/1.1');
    client.write(at(it, GET));
    expect(await until(client, /upstream_failed/)).toMatch(/^HTTP\/1.1 502 /);
  });
});

describe('gRPC', () => {
  const SAY = '/greet.Greeter/Say';
  const TALK = '/greet.Greeter/Talk';
  const POLICY = `protocol: rest, rules: [{allow: {method: POST, path: "/greet.Greeter/*"}}], deny_rules: [{method: POST, path: "/greet.Greeter/Drop"}]`;
  const same = (bytes: Buffer): Buffer => bytes;
  const method = (path: string, stream: boolean) => ({
    path,
    requestStream: stream,
    responseStream: stream,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  });

  async function greeter(certificate: { readonly key: string; readonly cert: string }): Promise<Greeter> {
    const server = new GrpcServer();
    const summed = new Metadata();
    summed.set('x-sum', '42');
    const service = {
      Say: method(SAY, false),
      Talk: method(TALK, true),
      Fail: method('/greet.Greeter/Fail', false),
    };
    server.addService(service, {
      Say: (call: { request: Buffer }, done: (error: null, value: Buffer, trailer: Metadata) => void) =>
        done(null, Buffer.from(`pong ${call.request}`), summed),
      Fail: (_call: unknown, done: (error: object) => void) =>
        done({ code: status.NOT_FOUND, details: 'nothing hére', metadata: summed }),
      Talk(call: ServerDuplexStream<Buffer, Buffer>) {
        call.on('data', (chunk: Buffer) => call.write(Buffer.from(`re ${chunk}`)));
        call.on('end', () => call.end(summed));
      },
    });
    const credentials = ServerCredentials.createSsl(null, [
      { private_key: Buffer.from(certificate.key), cert_chain: Buffer.from(certificate.cert) },
    ]);
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', credentials, (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    return { port, [Symbol.asyncDispose]: async () => server.forceShutdown() };
  }
  interface Greeter extends AsyncDisposable {
    readonly port: number;
  }

  const ask = async (it: Inspected, path: string, kind: string): Promise<Record<string, unknown>> => {
    const authority = join(dirname(it.certificate.path), 'authority.pem');
    const script = join(import.meta.dirname, '../fakes/grpc-client.ts');
    const args = [`grpc_proxy=${it.world.proxy}`, process.execPath, script, `api.test:${it.port}`];
    const { stdout, stderr } = await run('env', [...args, authority, path, kind]);
    return stdout.length === 0 ? { stderr } : JSON.parse(stdout.toString());
  };

  test.each([
    [SAY, 'unary', { code: 0, received: ['pong ping'] }],
    [TALK, 'stream', { code: 0, received: ['re turn 0', 're turn 1', 're turn 2'], trailer: ['42'] }],
    ['/greet.Greeter/Fail', 'unary', { code: status.NOT_FOUND, details: 'nothing hére', trailer: ['42'] }],
    ['/greet.Greeter/Missing', 'unary', { code: status.UNIMPLEMENTED }],
    [
      '/greet.Greeter/Drop',
      'unary',
      { code: status.PERMISSION_DENIED, details: expect.stringContaining('Drop') },
    ],
    ['/other.Service/Say', 'stream', { code: status.PERMISSION_DENIED, received: [] }],
  ])('%s (%s)', async (path, kind, expected) => {
    await using it = await inspected(POLICY, { origin: greeter });
    expect(await ask(it, path, kind)).toMatchObject(expected);
  });

  test('an origin that is not there is unavailable', async () => {
    await using it = await inspected(POLICY, { origin: greeter, resolve: async () => ['127.0.0.2'] });
    expect(await ask(it, SAY, 'unary')).toMatchObject({ code: status.UNAVAILABLE });
  });
});
