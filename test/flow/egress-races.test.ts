/** What changes while a connection is on its way: who holds it, where its name leads, and the policy, between any two stages. */
import { Resolver } from 'node:dns/promises';
import { createServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { createSystemResolver } from '../../src/egress/decide/lookup.ts';
import type { EgressOptions } from '../../src/egress/egress.ts';
import { EGRESS_LIMITS } from '../../src/egress/limits.ts';
import type { IdentityResult } from '../../src/egress/stages.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { checkDestination } from '../../src/policy/destination.ts';
import {
  type EgressWorld,
  IDENTITY,
  listen,
  rawClient,
  rule,
  startWorld,
  tcpServer,
} from './egress-world.ts';
import { inspected, tunnel } from './inspect-world.ts';

const CURL: IdentityResult = { ok: true, identity: IDENTITY };
const OTHER: IdentityResult = {
  ok: true,
  identity: { ...IDENTITY, executable: '/bin/evil', ancestors: [], ancestorHashes: [] },
};

describe('a connection that is kept is its holder’s of the moment', () => {
  test.each<[string, IdentityResult, string]>([
    ['another program by now', OTHER, 'binary_not_listed'],
    ['shared by now', { ok: false, reason: 'ambiguous: two processes' }, 'identity_unknown'],
    ['nobody’s any more', { ok: false, reason: 'no process holds the connection' }, 'identity_unknown'],
  ])('HTTP/1: %s', async (_, later, reason) => {
    let holder: IdentityResult = CURL;
    await using origin = await listen(createServer(({ url }, response) => response.end(`<${url}>`)));
    await using world = await startWorld([rule('allowed.test', [origin.port])], {
      identify: async () => holder,
    });
    const get = (path: string) => `GET http://allowed.test:${origin.port}${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const client = rawClient(world.proxyPort, get('/first'));
    await client.until(/<\/first>/);
    holder = later;
    client.socket.write(get('/second'));
    const text = await client.end();
    expect(text).toContain(`"reason":"${reason}"`);
    expect(text).not.toContain('</second>');
  });

  test('HTTP/2: each stream is judged by who holds it when it comes', async () => {
    let holder: IdentityResult = CURL;
    await using it = await inspected('protocol: rest, access: full', { identify: async () => holder });
    const socket = await tunnel(it.world, it.port, 'h2');
    const session = connectHttp2(it.base, { createConnection: () => socket });
    const status = (path: string) =>
      new Promise((resolve) => {
        const stream = session.request({ ':path': path });
        stream.on('error', () => {}).on('response', (headers) => resolve(headers[':status']));
        stream.resume();
      });
    expect(await status('/first')).toBe(200);
    holder = OTHER;
    expect(await status('/second')).toBe(403);
    session.destroy();
    expect(it.heard.requests).toHaveLength(1);
  });
});

describe('a name that leads elsewhere from one moment to the next', () => {
  /** Counts what comes to 127.0.0.1, which here is public; the check knows every other address for what it is. */
  const options = (
    answers: readonly (readonly string[])[],
  ): Required<Pick<EgressOptions, 'check' | 'resolve'>> & { asked: number } => {
    const state = {
      asked: 0,
      resolve: async () => answers[Math.min(state.asked++, answers.length - 1)] ?? [],
      check: ((verdict, host, port, addresses) => {
        const checked = checkDestination(
          verdict,
          host,
          port,
          addresses.map((address) => (address === '127.0.0.1' ? '8.8.8.8' : address)),
        );
        return checked.ok ? { ok: true, addresses } : checked;
      }) satisfies typeof checkDestination,
    };
    return state;
  };
  const PUBLIC = ['127.0.0.1'];

  test.each<[string, readonly string[]]>([
    ['private', ['10.0.0.1']],
    ['loopback', ['127.0.0.2']],
    ['metadata', ['169.254.169.254']],
    ['public and private at once', ['127.0.0.1', '10.0.0.1']],
    ['public IPv4 and private IPv6', ['127.0.0.1', 'fd00::1']],
    ['public, and loopback mapped', ['127.0.0.1', '::ffff:127.0.0.2']],
    ['none', []],
  ])(
    'public, then %s: what is open stays where it was checked, what is new is refused',
    async (_, rebound) => {
      await using origin = await listen(
        createServer((request, response) => response.end(`<${request.url}>`)),
      );
      const flipping = options([PUBLIC, rebound]);
      await using world = await startWorld([rule('allowed.test', [origin.port])], flipping);
      const get = (path: string) =>
        `GET http://allowed.test:${origin.port}${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
      const kept = rawClient(world.proxyPort, get('/first'));
      await kept.until(/<\/first>/);
      kept.socket.write(get('/second'));
      await kept.until(/<\/second>/);
      expect(flipping.asked).toBe(1);
      const connect = `CONNECT allowed.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n`;
      for (const first of [get('/third'), connect])
        expect(await rawClient(world.proxyPort, first).end()).toContain('"reason":"address_not_allowed"');
      kept.socket.destroy();
    },
  );

  test('what is dialled is what was checked: a name is asked for once a connection', async () => {
    await using origin = await listen(tcpServer((socket) => socket.end('reached')));
    const flipping = options([PUBLIC, ['127.0.0.2']]);
    await using world = await startWorld([rule('allowed.test', [origin.port], 'tcp')], flipping);
    const client = rawClient(
      world.proxyPort,
      `CONNECT allowed.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n`,
    );
    await client.until(/reached/);
    expect(flipping.asked).toBe(1);
    expect(await world.fact('connection-allowed')).toMatchObject({ address: '127.0.0.1' });
    client.socket.destroy();
  });

  test('what is remembered is checked each time, and what comes after is checked anew', async () => {
    await using origin = await listen(createServer((_request, response) => response.end('ok')));
    const { check, resolve } = options([PUBLIC, ['10.0.0.1']]);
    const limits = { ...EGRESS_LIMITS, nameCacheMs: 200 };
    const remembering = createSystemResolver(limits, resolve);
    await using world = await startWorld([rule('allowed.test', [origin.port])], {
      check,
      resolve: remembering,
    });
    const get = async () => {
      const request = `GET http://allowed.test:${origin.port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
      return await rawClient(world.proxyPort, request).end();
    };
    let text = await get();
    expect(text).toContain('ok');
    while (text.includes('200 OK')) text = await get();
    expect(text).toContain('"reason":"address_not_allowed"');
  });
});

type Stage = 'identify' | 'resolve' | 'check' | 'dial';

/** A world whose policy is replaced when a connection is in the middle of the stage. */
async function swapping(stage: Stage, first: string, then: string) {
  const heard: string[] = [];
  let world: EgressWorld | undefined;
  let port = 0;
  const swap = (at: Stage): void => {
    if (at === stage) world?.egress.replacePolicy(compilePolicy([rule(then, [port])]));
  };
  const stack = new AsyncDisposableStack();
  const onSocket = (socket: Socket): void => {
    swap('dial');
    socket
      .on('data', (data) => heard.push(String(data)))
      .end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  };
  const origin = stack.use(await listen(tcpServer(onSocket)));
  ({ port } = origin);
  world = stack.use(
    await startWorld([rule(first, [port])], {
      async identify() {
        swap('identify');
        return CURL;
      },
      async resolve() {
        swap('resolve');
        return ['127.0.0.1'];
      },
      check(_verdict, _host, _port, addresses) {
        swap('check');
        return { ok: true, addresses };
      },
    }),
  );
  return { world, port, heard, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

describe('a policy that changes between two stages', () => {
  const ways: Readonly<Record<string, (host: string) => string>> = {
    'a tunnel': (host) => `CONNECT ${host} HTTP/1.1\r\nHost: x\r\n\r\n`,
    'a request': (host) => `GET http://${host}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
  };
  const stages: readonly Stage[] = ['identify', 'resolve', 'check'];
  test.each(Object.keys(ways).flatMap((way) => stages.map((stage) => [way, stage] as const)))(
    '%s loses its right during %s, and nothing of it is sent',
    async (way, stage) => {
      await using it = await swapping(stage, 'allowed.test', 'other.test');
      const client = rawClient(it.world.proxyPort, ways[way]?.(`allowed.test:${it.port}`));
      expect(await client.end()).toMatch(/^HTTP\/1\.1 403 [\s\S]*"reason":"host_not_listed"/);
      expect(it.heard).toEqual([]);
      expect(it.world.facts.map(({ kind }) => kind)).toEqual(['connection-denied']);
    },
  );

  test.each(Object.keys(ways))(
    '%s that would have been refused is judged by the policy that is in force',
    async (way) => {
      await using it = await swapping('identify', 'other.test', 'allowed.test');
      const client = rawClient(it.world.proxyPort, ways[way]?.(`allowed.test:${it.port}`));
      expect(await client.end()).toMatch(/^HTTP\/1\.1 200 /);
    },
  );

  test.each(Object.keys(ways))('%s that loses its right while it is dialled ends', async (way) => {
    await using it = await swapping('dial', 'allowed.test', 'other.test');
    const client = rawClient(it.world.proxyPort, ways[way]?.(`allowed.test:${it.port}`));
    expect(await client.end()).not.toContain('ok');
    expect(await it.world.fact('connection-denied')).toMatchObject({ reason: 'host_not_listed' });
  });

  test('a name that may no longer be asked for is refused, and its address leads nowhere', async () => {
    await using world = await startWorld([rule('allowed.test', [443])]);
    const dns = new Resolver({ tries: 1 });
    dns.setServers([`127.0.0.1:${world.egress.addresses.dnsUdp[0]?.port}`]);
    const [address = ''] = await dns.resolve4('allowed.test');
    world.egress.replacePolicy(compilePolicy([rule('other.test', [443])]));
    await expect(dns.resolve4('allowed.test')).rejects.toMatchObject({ code: 'EREFUSED' });
    world.dialled = { address, port: 443 };
    const client = rawClient(world.transparentPort, 'GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n');
    expect(await client.end()).toContain('"reason":"host_not_listed"');
  });
});
