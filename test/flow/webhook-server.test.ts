/** The webhook's HTTPS server and its certificate, met by well-meaning and other clients. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CertificateOptions, openCertificate } from '../../src/webhook/certificate.ts';
import { MAX_BODY_BYTES, openReviewServer, type ReviewServer } from '../../src/webhook/server.ts';
import { makeAuthority, type Pair } from '../fakes/authority.ts';

const authority = makeAuthority('webhook test');
const strangers = makeAuthority('strangers');
const first = authority.issue('127.0.0.1', 'hook.test');
const second = authority.issue('127.0.0.1', 'hook.test');
afterAll(() => {
  authority[Symbol.dispose]();
  strangers[Symbol.dispose]();
});

const LOOPBACK = { host: '127.0.0.1', port: 0 };
const EVERYTHING = 10 * 1000;

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: NodeJS.Dict<string | string[]>;
}

interface Question {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly agent?: Agent;
  readonly client?: Pair;
}

function ask({ address }: ReviewServer, question: Question = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const asked = request({
    host: '127.0.0.1',
    port: address.port,
    path: question.path ?? '/mutate',
    method: question.method ?? 'POST',
    headers: { 'Content-Type': 'application/json', ...question.headers },
    ca: authority.ca,
    agent: question.agent ?? false,
    ...question.client,
  });
  asked.on('error', reject);
  asked.on('response', async (response) => {
    let body = '';
    for await (const chunk of response) body += chunk;
    resolve({ status: response.statusCode ?? 0, body, headers: response.headers });
  });
  asked.end(question.body ?? '{}');
  return promise;
}

const lines: string[] = [];
const tell = (line: string) => lines.push(line);
const bodies: string[] = [];
const open = (credentials: Partial<Pair & { ca: string }> = {}) =>
  openReviewServer({
    listen: LOOPBACK,
    credentials: { ca: undefined, ...first, ...credentials },
    paths: new Map([
      [
        '/mutate',
        async (body: string) => {
          bodies.push(body);
          if (body === 'bad') return { kind: 'malformed' as const, problem: 'is bad' };
          if (body === 'throw') throw new Error('a bug');
          return { kind: 'answer' as const, json: JSON.stringify({ length: body.length }) };
        },
      ],
    ]),
    tell,
  });

beforeEach(() => {
  lines.length = 0;
  bodies.length = 0;
});

describe('the server', () => {
  let server: ReviewServer;
  beforeEach(async () => {
    server = await open();
  });
  afterEach(() => server[Symbol.asyncDispose]());

  const rows: readonly { name: string; question: Question; status: number; body: RegExp }[] = [
    { name: 'answers a review', question: { body: 'x'.repeat(20_000) }, status: 200, body: /20000/ },
    {
      name: 'takes the query that an API server adds',
      question: { path: '/mutate?timeout=10s' },
      status: 200,
      body: /2/,
    },
    { name: 'knows no other path', question: { path: '/' }, status: 404, body: /nothing here/ },
    { name: 'takes no GET', question: { method: 'GET', body: '' }, status: 405, body: /POST/ },
    {
      name: 'takes nothing but JSON',
      question: { headers: { 'Content-Type': 'text/plain' } },
      status: 415,
      body: /json/,
    },
    { name: 'says what is malformed', question: { body: 'bad' }, status: 400, body: /is bad/ },
    {
      name: 'takes no bytes that are no text',
      question: { body: Buffer.from([0x22, 0xff, 0x22]) },
      status: 400,
      body: /UTF-8/,
    },
    {
      name: 'tells nothing of a bug to whoever asks',
      question: { body: 'throw' },
      status: 500,
      body: /^castellan failed; see its log\n$/,
    },
    {
      name: 'refuses a body by its announced length',
      question: { headers: { 'Content-Length': String(MAX_BODY_BYTES + 1) }, body: '{' },
      status: 413,
      body: /at most/,
    },
    {
      name: 'refuses a body of unknown length when it is too long',
      question: { headers: { 'Transfer-Encoding': 'chunked' }, body: Buffer.alloc(MAX_BODY_BYTES + 1, 0x20) },
      status: 413,
      body: /at most/,
    },
  ];
  it.each(rows)('$name', async ({ question, status, body }) => {
    const answer = await ask(server, question);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatch(body);
    if (status !== 200) expect(answer.headers['connection']).toBe('close');
  });

  it('tells its own log of a bug', async () => {
    await ask(server, { body: 'throw' });
    expect(lines.join()).toContain('a bug');
  });

  it('speaks no TLS older than 1.2', async () => {
    const options = { host: '127.0.0.1', port: server.address.port, ca: authority.ca };
    const old = connect({
      ...options,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    const [error] = (await once(old, 'error')) as [Error];
    expect(error.message).toMatch(/alert protocol version/);
  });

  it('closes on who is silent before, in and after the handshake', async () => {
    const { connect: connectTcp } = await import('node:net');
    const silent = connectTcp(server.address.port, '127.0.0.1');
    const options = { host: '127.0.0.1', port: server.address.port, ca: authority.ca };
    const noRequest = connect(options);
    const noBody = connect(options);
    noBody.write(
      'POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
    );
    let said = '';
    noBody.on('data', (chunk) => {
      said += String(chunk);
    });
    for (const socket of [silent, noRequest]) socket.resume().on('error', () => {});
    await Promise.all([silent, noRequest, noBody].map((socket) => once(socket, 'close')));
    expect(said).toMatch(/^HTTP\/1.1 408 /);
  }, 20_000);

  it('holds no more of one address than its share', async () => {
    const options = { host: '127.0.0.1', port: server.address.port, ca: authority.ca };
    const held = Array.from({ length: 256 }, () => connect(options));
    for (const socket of held) socket.on('error', () => {});
    await Promise.all(held.map((socket) => once(socket, 'secureConnect')));
    await expect(ask(server)).rejects.toThrow(/socket|ECONNRESET/);
    // From another address, there is room.
    const other = request({
      host: '127.0.0.1',
      localAddress: '127.0.0.2',
      port: server.address.port,
      path: '/mutate',
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      ca: authority.ca,
    });
    const [response] = await Promise.all([once(other, 'response'), other.end('{}')]);
    expect(response[0].statusCode).toBe(200);
    other.destroy();
    for (const socket of held) socket.destroy();
  });

  it('holds no more bodies of one address than its share, and asks it to come again', async () => {
    const body = Buffer.alloc(MAX_BODY_BYTES, 0x20);
    const head = `POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    const options = { host: '127.0.0.1', port: server.address.port, ca: authority.ca };
    const heldBack = Array.from({ length: 3 }, () => connect(options));
    const answers = heldBack.map(async (socket) => {
      socket.write(head);
      socket.write(body.subarray(1));
      const [answer] = await once(socket, 'data');
      socket.destroy();
      return String(answer).split('\r\n\r\n', 1)[0] ?? '';
    });
    const refused = (await Promise.all(answers)).filter((answer) => answer.startsWith('HTTP/1.1 429'));
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]).toMatch(/Retry-After: 1/i);
    expect((await ask(server)).status).toBe(200);
  }, 20_000);

  it('lets a review that is under way be answered after it has stopped listening', async () => {
    const agent = new Agent({ keepAlive: true });
    const asked = request({
      host: '127.0.0.1',
      port: server.address.port,
      path: '/mutate',
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Length': '2' },
      ca: authority.ca,
      agent,
    });
    asked.write('{');
    await once(asked, 'socket').then(([socket]) => once(socket, 'secureConnect'));
    await ask(server); // so that the first one's head has been read
    const drained = server.drain(EVERYTHING);
    await expect(ask(server)).rejects.toThrow('ECONNREFUSED');
    const [[response]] = await Promise.all([once(asked, 'response'), asked.end('}')]);
    expect([response.statusCode, response.headers['connection']]).toEqual([200, 'close']);
    await drained;
    agent.destroy();
  });

  it('gives up draining in time', async () => {
    const held = connect({ host: '127.0.0.1', port: server.address.port, ca: authority.ca });
    held.on('error', () => {});
    held.write('POST /mutate HTTP/1.1\r\nHost: x\r\n');
    await once(held, 'secureConnect');
    const closed = once(held, 'close');
    await server.drain(100);
    await closed;
  });
});

describe('with an authority of clients', () => {
  it('serves who shows a certificate of it, and nobody else', async () => {
    await using server = await open({ ca: strangers.ca });
    expect((await ask(server, { client: strangers.issue('kube-apiserver') })).status).toBe(200);
    await expect(ask(server)).rejects.toThrow(/certificate required|ECONNRESET|socket/);
    await expect(ask(server, { client: first })).rejects.toThrow(/unknown ca|ECONNRESET|socket/);
    expect(bodies).toHaveLength(1);
  });
});

describe('the certificate', () => {
  let directory: string;
  let generation = 0;
  const files = () => ({
    certificate: join(directory, 'tls.crt'),
    key: join(directory, 'tls.key'),
    clientAuthority: undefined,
  });
  /** As a kubelet does it: a new directory, and a symbolic link renamed onto the old one. */
  function mount({ cert, key }: Pair): void {
    const data = `..gen${generation++}`;
    mkdirSync(join(directory, data));
    writeFileSync(join(directory, data, 'tls.crt'), cert);
    writeFileSync(join(directory, data, 'tls.key'), key);
    symlinkSync(data, join(directory, '..data_tmp'));
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  }
  let told = Promise.withResolvers<string>();
  const nextLine = async () => {
    const line = await told.promise;
    told = Promise.withResolvers();
    return line;
  };
  const options = (replaced: CertificateOptions['replaced'], now = Date.now): CertificateOptions => ({
    replaced,
    now,
    tell: (line) => {
      lines.push(line);
      told.resolve(line);
    },
  });
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'castellan-certificate-'));
    told = Promise.withResolvers();
    mount(first);
    for (const name of ['tls.crt', 'tls.key']) symlinkSync(join('..data', name), join(directory, name));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('is exchanged under load without one failed request', async () => {
    await using server = await open();
    using certificate = await openCertificate(
      files(),
      options((pair) => server.replace(pair)),
    );
    expect(certificate.isValid()).toBe(true);
    let running = true;
    const keepAlive = new Agent({ keepAlive: true, maxSockets: 2 });
    const load = [undefined, keepAlive, undefined].map(async (agent) => {
      const statuses: number[] = [];
      while (running) statuses.push((await ask(server, agent ? { agent } : {})).status);
      return statuses;
    });
    for (const pair of [second, first, second]) {
      mount(pair);
      expect(await nextLine()).toMatch(/^the certificate was replaced \(/);
    }
    running = false;
    const statuses = (await Promise.all(load)).flat();
    keepAlive.destroy();
    expect(new Set(statuses)).toEqual(new Set([200]));
    const socket = connect({ host: '127.0.0.1', port: server.address.port, ca: authority.ca });
    await once(socket, 'secureConnect');
    expect(socket.getPeerX509Certificate()?.toString()).toBe(second.cert);
    socket.destroy();
  });

  it.each([
    [
      'of another key',
      () => ({ cert: second.cert, key: first.key }),
      /no certificate and its key .*; the certificate before serves on$/,
    ],
    ['that is no PEM', () => ({ cert: 'x', key: second.key }), /no certificate and its key/],
    ['that is empty', () => ({ cert: '', key: '' }), /no certificate and its key/],
  ])('%s does not replace the one before, and is told once', async (_name, pair, line) => {
    const replaced: unknown[] = [];
    using certificate = await openCertificate(
      files(),
      options((next) => replaced.push(next)),
    );
    mount(pair());
    expect(await nextLine()).toMatch(line);
    expect(certificate.credentials.cert).toBe(first.cert);
    mount(pair());
    mount(second);
    expect(await nextLine()).toMatch(/replaced/);
    expect(replaced).toHaveLength(1);
    expect(lines).toHaveLength(2);
    expect(lines.join()).not.toContain('PRIVATE KEY');
  });

  it('out of its time is not valid, and does not replace one that is', async () => {
    let now = Date.now() + 3 * 24 * 3600 * 1000;
    using expired = await openCertificate(
      files(),
      options(
        () => {},
        () => now,
      ),
    );
    expect(await nextLine()).toMatch(/not in its time/);
    expect(expired.isValid()).toBe(false);
    now = Date.now();
    expect(expired.isValid()).toBe(true);
    now = 0;
    mount(second);
    expect(await nextLine()).toMatch(/^a certificate that is not in its time .* is left alone/);
    expect(expired.credentials.cert).toBe(first.cert);
  });

  it.each([
    ['is missing', () => rmSync(join(directory, 'tls.key')), /tls.key cannot be read/],
    [
      'is no file',
      () => {
        rmSync(join(directory, 'tls.key'));
        mkdirSync(join(directory, 'tls.key'));
      },
      /not a regular file/,
    ],
    ['is another’s', () => mount({ cert: first.cert, key: second.key }), /no certificate and its key/],
  ])('stops the start where the key %s', async (_name, spoil, message) => {
    spoil();
    await expect(
      openCertificate(
        files(),
        options(() => {}),
      ),
    ).rejects.toMatchObject({ code: 'usage', message });
  });
});
