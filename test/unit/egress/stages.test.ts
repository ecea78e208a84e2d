import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { decide } from '../../../src/egress/decide/decide.ts';
import { approveDestination } from '../../../src/egress/decide/destination.ts';
import type { Resolver } from '../../../src/egress/decide/lookup.ts';
import { createProcessQuota } from '../../../src/egress/identify/quota.ts';
import { EGRESS_LIMITS } from '../../../src/egress/limits.ts';
import { dial } from '../../../src/egress/relay/dial.ts';
import {
  endToEndHeaders,
  requestFields,
  responseFields,
  toHeaderObject,
  trailerPairs,
} from '../../../src/egress/relay/headers.ts';
import type { ApprovedAddress, Grant, Intent } from '../../../src/egress/stages.ts';
import { checkDestination } from '../../../src/policy/destination.ts';
import type { AllowVerdict, Query, Verdict } from '../../../src/policy/verdict.ts';

const flow = {
  family: 4,
  localAddress: '10.0.0.2',
  localPort: 1,
  remoteAddress: '127.0.0.1',
  remotePort: 3128,
} as const;
const intent: Intent = {
  connectionId: '1',
  adapter: 'connect',
  host: 'a.test',
  port: 443,
  flow,
  startedAt: 0,
};
const identity = {
  pid: 1,
  startTime: '1',
  uid: 1,
  executable: '/bin/a',
  sha256: '1',
  ancestors: ['/bin/b', '/bin/c', '/bin/d'],
  ancestorHashes: ['2', '3', ''],
};
const allow: AllowVerdict = {
  allow: true,
  rule: 'r',
  matchedBinary: '/bin/a',
  allowedIps: [],
  exactHost: true,
  protocol: '',
  requests: undefined,
};
const grant: Grant = { verdict: allow, identity };

describe('decide', () => {
  const deny = { allow: false, reason: 'port_not_listed', detail: 'd', nearest: 'n' } as const;
  const arrival = { intent, objection: undefined };
  const known = { ok: true, identity } as const;
  const unknown = { ok: false, reason: 'no process' } as const;
  const always = (verdict: Verdict) => ({ decide: () => verdict });

  test('the executable is asked about first, then its ancestors', () => {
    const asked: Query[] = [];
    const decider = {
      decide(query: Query) {
        asked.push(query);
        return allow;
      },
    };
    expect(decide(decider, arrival, known)).toEqual({ ok: true, grant });
    // The last one is not trusted.
    const programs = { binaries: ['/bin/a', '/bin/b', '/bin/c'], hashes: ['1', '2', '3'] };
    expect(asked).toEqual([{ host: 'a.test', port: 443, ...programs }]);
  });

  test.each([
    ['a denial keeps its identity', always(deny), arrival, known, deny, identity],
    [
      'an unknown destination is the reason even without identity',
      always(deny),
      arrival,
      unknown,
      deny,
      undefined,
    ],
    [
      'nobody is never allowed',
      always(allow),
      arrival,
      unknown,
      { reason: 'identity_unknown', detail: 'no process', nearest: 'r' },
      undefined,
    ],
    [
      'why nobody is known is told',
      always({ ...deny, reason: 'identity_unknown' }),
      arrival,
      unknown,
      { reason: 'identity_unknown', detail: 'd: no process', nearest: 'n' },
      undefined,
    ],
    [
      'an objection needs no policy',
      always(allow),
      { intent, objection: { reason: 'name_mismatch', detail: 'two' } as const },
      known,
      { reason: 'name_mismatch', detail: 'two' },
      identity,
    ],
  ])('%s', (_name, decider, given, who, verdict, expected) => {
    const decision = decide(decider, given, who);
    expect(decision).toMatchObject({ ok: false, verdict });
    expect(!decision.ok && decision.identity).toBe(expected);
  });
});

describe('destinations', () => {
  const approve = (host: string, resolve: Resolver, verdict: AllowVerdict = allow) =>
    approveDestination(
      { ...intent, host },
      { ...grant, verdict },
      { resolve, check: checkDestination, limits: { ...EGRESS_LIMITS, resolveMs: 20 } },
    );

  test('what the check passes is approved, with its family and the port', async () => {
    expect(await approve('a.test', async () => ['192.0.1.1', '2600::1'])).toEqual({
      ok: true,
      addresses: [
        { address: '192.0.1.1', family: 4, port: 443 },
        { address: '2600::1', family: 6, port: 443 },
      ],
    });
  });

  test('a literal is not resolved', async () => {
    const resolve = () => Promise.reject(new Error('asked'));
    const verdict = { ...allow, allowedIps: ['10.0.0.1/32'] };
    expect(await approve('10.0.0.1', resolve, verdict)).toMatchObject({ ok: true });
  });

  test.each<[string, Resolver, object]>([
    [
      'one private answer among public ones',
      async () => ['192.0.1.1', '10.0.0.1'],
      { result: 'denied', verdict: { reason: 'address_not_allowed', nearest: 'r' } },
    ],
    ['no answer', async () => [], { result: 'denied', verdict: { reason: 'address_not_allowed' } }],
    [
      'a failure',
      () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' })),
      {
        result: 'failed',
        status: 502,
        error: 'name_resolution_failed',
        detail: 'a.test could not be resolved: ENOTFOUND',
      },
    ],
    [
      'silence',
      () => new Promise(() => {}),
      { result: 'failed', status: 504, error: 'name_resolution_timeout' },
    ],
  ])('%s is no destination', async (_name, resolve, refusal) => {
    expect(await approve('a.test', resolve)).toMatchObject({ ok: false, refusal });
  });
});

describe('dial', () => {
  const approved = (address: string, port: number) =>
    ({ address, port, family: 4 }) as unknown as ApprovedAddress;

  async function withServer(work: (port: number) => Promise<void>): Promise<void> {
    const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      await work((server.address() as AddressInfo).port);
    } finally {
      server.close();
    }
  }

  test('the next address is tried when one refuses', () =>
    withServer(async (port) => {
      const { signal } = new AbortController();
      // Nothing listens there: the server is bound to 127.0.0.1 alone.
      const result = await dial([approved('127.0.0.2', port), approved('127.0.0.1', port)], {
        signal,
        limits: EGRESS_LIMITS,
      });
      expect(result).toMatchObject({ ok: true, address: '127.0.0.1' });
      if (result.ok) result.socket.destroy();
    }));

  test('when none answers, the refusal names all', () =>
    withServer(async (port) => {
      const { signal } = new AbortController();
      const result = await dial([approved('127.0.0.2', port), approved('127.0.0.3', port)], {
        signal,
        limits: EGRESS_LIMITS,
      });
      const refusal = {
        status: 502,
        error: 'upstream_unreachable',
        detail: `127.0.0.2 port ${port}: ECONNREFUSED; 127.0.0.3 port ${port}: ECONNREFUSED`,
      };
      expect(result).toMatchObject({ ok: false, refusal });
    }));

  test('a client that is gone stops it', async () => {
    const result = await dial([approved('127.0.0.1', 9)], {
      signal: AbortSignal.abort(),
      limits: EGRESS_LIMITS,
    });
    expect(result).toMatchObject({ ok: false, refusal: { detail: 'the client went away' } });
  });

  test('no address is a refusal', async () => {
    const { signal } = new AbortController();
    expect(await dial([], { signal, limits: EGRESS_LIMITS })).toMatchObject({ ok: false });
  });
});

test('a process may hold so many connections, and no other pays for it', () => {
  const quota = createProcessQuota(2, 3);
  const first = quota.take(identity);
  expect(quota.take(identity)).toBeDefined();
  expect(quota.take(identity)).toBeUndefined();
  expect(quota.take({ ...identity, startTime: '2' })).toBeDefined();
  expect(quota.take({ ...identity, startTime: '3' })).toBeUndefined();
  first?.[Symbol.dispose]();
  expect(quota.take(identity)).toBeDefined();
});

describe('headers', () => {
  test('what belongs to one hop stays behind', () => {
    const raw = [
      'Connection',
      'close, X-Mine',
      'x-mine',
      '1',
      'Keep-Alive',
      '5',
      'Proxy-Authorization',
      's',
      'Proxy-Foo',
      '1',
      'TE',
      'gzip',
    ];
    const kept = ['X-Kept', '1', 'x-kept', '2', 'Authorization', 'b', 'Trailer', 'X'];
    expect(
      endToEndHeaders([
        ...raw,
        'Upgrade',
        'h2c',
        'Transfer-Encoding',
        'chunked',
        'Content-Length',
        '1',
        'Host',
        'x',
        ...kept,
      ]),
    ).toEqual(kept);
  });

  test('Host and framing are our own', () => {
    const _body = { chunked: true, contentLength: undefined };
    const via = ['Via', '1.1 castellan'];
    expect(requestFields(['Host', 'other', 'A', 'b', 'Expect', '100-continue'], false)).toEqual([
      ...['A', 'b', 'Expect', '100-continue'],
      ...via,
    ]);
    expect(requestFields(['Expect', '100-continue'], true)).toEqual(via);
    expect(requestFields(['cookie', 'a=1', 'X', 'y', 'cookie', 'b=2'], false)).toEqual([
      ...['X', 'y', 'Cookie', 'a=1; b=2'],
      ...via,
    ]);
    expect(responseFields(['Connection', 'close', 'Content-Length', '3', ':status', '200'])).toEqual(via);
    expect(toHeaderObject(['A', '1', 'b', '2', 'a', '3'])).toEqual({ a: ['1', '3'], b: '2' });
  });

  test('nothing that frames or authorises comes after the body', () => {
    const raw = [
      'X-Sum',
      '1',
      'Content-Length',
      '5',
      'Authorization',
      'x',
      'Set-Cookie',
      'y',
      'Host',
      'z',
      'Transfer-Encoding',
      'chunked',
    ];
    expect(trailerPairs(raw)).toEqual([['X-Sum', '1']]);
  });
});
