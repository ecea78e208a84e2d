import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { formatAuthority, parseAuthority } from '../../../src/egress/accept/authority.ts';
import {
  connectTarget,
  type Dialled,
  http2Target,
  type RequestTarget,
  requestTarget,
} from '../../../src/egress/accept/http-target.ts';
import { createSyntheticNames, isSynthetic } from '../../../src/egress/accept/synthetic-names.ts';
import {
  requestFields,
  responseFields,
  toHeaderObject,
  trailerPairs,
} from '../../../src/egress/relay/headers.ts';
import type { Choices } from '../choices.ts';
import { choiceTarget, returnsOr, type Target, textTarget } from '../target.ts';

const authority = textTarget({
  name: 'authority',
  seeds: [
    'a.example:443',
    '[::1]:80',
    'a.example.',
    'user@a.example:1',
    '[::ffff:10.0.0.1]:65535',
    '127.1:80',
  ],
  words: [':', '@', '[', ']', '.', '65536', '0', '%', '\\', '/', '\t', '\u212a'],
  maxBytes: 400,
  check(text) {
    const read = parseAuthority(text, 80);
    if (read === undefined) return;
    assert.deepEqual(parseAuthority(formatAuthority(read)), read);
    assert.deepEqual(parseAuthority(formatAuthority(read, 80), 80), read);
    const url = returnsOr(
      () => new URL(`http://${text}/`),
      (error) => error instanceof TypeError,
    );
    if (url === undefined) {
      assert.match(read.host, /xn--/, 'only what is no international name may be no URL');
      return;
    }
    assert.equal(url.username + url.password, '');
    assert.equal(Number(url.port || 80), read.port);
    const host = url.hostname.replace(/^\[|\]$|\.$/g, '');
    if (!host.startsWith('::ffff:')) assert.equal(host, read.host);
  },
});

const URLS = [
  '/',
  '*',
  '/a?b',
  'http://a.example/x',
  'HTTP://a.example:81',
  'http://a.example?q',
  'https://a.example/',
  'http://user@a.example/',
  'http://a.example\\@b.example/',
  'a.example:443',
  '[::1]:443',
  '//b.example/x',
  'http:///x',
  'http://a.example#f',
];
const HOSTS = [
  'a.example',
  'A.Example:80',
  'b.example',
  'a.example:443',
  '',
  '10.0.0.1',
  'a.example, b.example',
];
const HEADERS = ['Content-Length', 'Transfer-Encoding', 'Content-Type', 'Host', 'Connection', 'X-A'];
const HEADER_VALUES = ['5', 'chunked', 'Chunked', 'gzip, chunked', 'identity', 'close', 'a'];

interface Sent {
  readonly method: string;
  readonly url: string;
  readonly httpVersion: string;
  readonly headers: Record<string, string>;
  readonly rawHeaders: string[];
}

function sentRequest(choices: Choices): Sent {
  const raw = choices.chance(8) ? [] : ['Host', choices.pick(HOSTS)];
  for (let count = choices.below(4); count > 0; count--)
    raw.push(choices.pick(HEADERS), choices.pick(HEADER_VALUES));
  const headers: Record<string, string> = {};
  for (let index = 0; index < raw.length; index += 2)
    headers[(raw[index] ?? '').toLowerCase()] ??= raw[index + 1] ?? '';
  const url = choices.chance(3) ? choices.text('/ahtp:.@?#%\\[]*é \t', 12) : choices.pick(URLS);
  return {
    method: choices.pick(['GET', 'OPTIONS', 'POST', 'CONNECT']),
    url,
    httpVersion: choices.pick(['1.1', '1.1', '1.0', '2.0']),
    headers,
    rawHeaders: raw,
  };
}

const httpTarget = choiceTarget({
  name: 'http-target',
  check(choices) {
    const request = sentRequest(choices);
    const name = choices.pick(['a.example', undefined]);
    const dialled: Dialled | undefined = choices.chance(2)
      ? {
          name,
          port: choices.pick([80, 443]),
          ...(choices.chance(2) && { opened: { adapter: 'connect', scheme: 'https' } as const }),
        }
      : undefined;
    checkTarget(requestTarget(request, dialled), request, dialled);
    const connect = connectTarget(request, dialled);
    if (connect.ok) assert.equal(dialled, undefined, 'a CONNECT inside a connection');
    const headers = {
      ':method': request.method,
      ':scheme': choices.pick(['http', 'https']),
      ':path': request.url,
      ...(choices.chance(2) && { ':authority': choices.pick(HOSTS) }),
      ...request.headers,
    };
    checkTarget(
      http2Target(headers, request.rawHeaders, dialled),
      { ...request, httpVersion: '2.0' },
      dialled,
    );
  },
});

/** What passes is one request, to one host, in one framing. */
function checkTarget(
  target: RequestTarget,
  { headers, url, rawHeaders, httpVersion }: Sent,
  dialled: Dialled | undefined,
): void {
  if (!target.ok) {
    assert.equal(target.status, 400);
    return;
  }
  const names = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  assert.ok(names.filter((name) => name === 'host').length <= 1);
  if (httpVersion !== '2.0')
    assert.ok(headers['content-length'] === undefined || headers['transfer-encoding'] === undefined);
  assert.match(target.path, /^\/[\x21-\x7e]*$|^\*$/);
  assert.ok(!target.path.includes('#'));
  const { authority } = target;
  assert.ok(isIP(authority.host) !== 0 || /^[a-z0-9_.-]+$/.test(authority.host));
  if (/^http:/i.test(url)) {
    const read = new URL(url);
    assert.equal(read.hostname.replace(/\.$/, ''), authority.host, 'the URL standard reads another host');
    assert.equal(Number(read.port || (dialled?.port ?? 80)), authority.port);
  }
  if (target.objection !== undefined || dialled === undefined) return;
  assert.equal(authority.port, dialled.port);
  if (dialled.name !== undefined) assert.equal(authority.host, dialled.name);
}

const HOP_BY_HOP = /^(connection|keep-alive|proxy-.*|te|transfer-encoding|upgrade|content-length|host|:.*)$/i;

const headers = choiceTarget({
  name: 'forwarded-headers',
  check(choices) {
    const names = [
      'Connection',
      'X-A',
      'x-a',
      'Proxy-Authorization',
      'TE',
      'Cookie',
      'Upgrade',
      'Keep-Alive',
      '__proto__',
      ':path',
      'Expect',
      'Authorization',
      'Transfer-Encoding',
    ];
    const raw = choices
      .list(8, () => [choices.pick(names), choices.pick(['x-a', 'close, X-A', 'a=1', '100-continue', ''])])
      .flat();
    const nominated = raw.flatMap((name, index) =>
      index % 2 === 0 && /^connection$/i.test(name)
        ? (raw[index + 1] ?? '').split(',').map((word) => word.trim().toLowerCase())
        : [],
    );
    for (const fields of [
      requestFields(raw, choices.chance(2)),
      responseFields(raw),
      trailerPairs(raw).flat(),
    ]) {
      assert.equal(fields.length % 2, 0);
      for (let index = 0; index < fields.length; index += 2) {
        const name = fields[index] ?? '';
        assert.doesNotMatch(name, HOP_BY_HOP);
        if (name !== 'Via') assert.ok(!nominated.includes(name.toLowerCase()));
      }
      const object = toHeaderObject(fields);
      assert.equal(Object.values(object).flat().length, fields.length / 2, 'no field is lost');
      assert.equal(Object.getPrototypeOf(object), null);
    }
    assert.ok(
      requestFields(raw, false).filter((each, index) => index % 2 === 0 && /^cookie$/i.test(each)).length <=
        1,
    );
  },
});

const CAPACITY = 4;
const GRACE_MS = 10;

/** Against what has to be true of any such table: one name an address, and none is taken away while it is held or in use. */
const syntheticNames = choiceTarget({
  name: 'synthetic-names',
  check(choices) {
    let now = 0;
    const table = createSyntheticNames({ capacity: CAPACITY, graceMs: GRACE_MS, now: () => now });
    const given = new Map<string, { readonly address: string; readonly other: string; usedAt: number }>();
    const holds = new Map<string, Disposable[]>();
    while (!choices.exhausted) {
      const name = choices.pick(['a', 'b', 'c', 'd', 'e', 'f']);
      const known = given.get(name);
      switch (choices.below(4)) {
        case 0: {
          const addresses = table.addressesOf(name);
          if (addresses === undefined) break;
          const { ipv4: address, ipv6: other } = addresses;
          for (const each of [address, other]) assert.ok(isSynthetic(each) && table.nameOf(each) === name);
          given.set(name, { address, other, usedAt: now });
          break;
        }
        case 1:
          if (known !== undefined && table.nameOf(known.address) === name) {
            const held = choices.pick([known.address, known.other]);
            holds.set(name, [...(holds.get(name) ?? []), table.hold(held)]);
            known.usedAt = now;
          }
          break;
        case 2:
          holds.get(name)?.pop()?.[Symbol.dispose]();
          if (known !== undefined && table.nameOf(known.address) === name) known.usedAt = now;
          break;
        default:
          now += choices.below(8);
      }
      for (const [held, each] of holds)
        if (each.length > 0)
          assert.equal(table.nameOf(given.get(held)?.address ?? ''), held, 'a held address was freed');
      for (const { address, other } of given.values())
        assert.equal(table.nameOf(address), table.nameOf(other), 'one was freed without the other');
      const live = [...given].filter(([each, { address }]) => table.nameOf(address) === each);
      assert.ok(live.length <= CAPACITY);
      assert.equal(new Set(live.map(([, { address }]) => address)).size, live.length);
    }
  },
});

export const ACCEPT_TARGETS: readonly Target[] = [authority, httpTarget, headers, syntheticNames];
