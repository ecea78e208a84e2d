import { describe, expect, test } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import { formatAuthority, parseAuthority } from '../../../src/egress/accept/authority.ts';
import { createDnsRecord, type DnsFact } from '../../../src/egress/accept/dns-record.ts';
import { connectTarget, type Dialled, requestTarget } from '../../../src/egress/accept/http-target.ts';
import { familyOf, listenersOf } from '../../../src/egress/accept/listeners.ts';
import { classifyOpening } from '../../../src/egress/accept/opening.ts';
import { createSyntheticNames, isSynthetic } from '../../../src/egress/accept/synthetic-names.ts';
import { learn } from '../../../src/egress/accept/transparent.ts';
import { tunnelObjection } from '../../../src/egress/accept/tunnel-name.ts';
import { classifyAddress } from '../../../src/policy/destination.ts';

test.each([
  ['a.test:443', undefined, 'a.test', 443],
  ['A.Test.:443', undefined, 'a.test', 443],
  ['a.test', 80, 'a.test', 80],
  ['a.test:8080', 80, 'a.test', 8080],
  ['10.0.0.1:1', undefined, '10.0.0.1', 1],
  ['[2001:DB8:0::1]:65535', undefined, '2001:db8::1', 65_535],
  ['[::ffff:10.0.0.1]:80', undefined, '10.0.0.1', 80],
])('authority %s', (text, defaultPort, host, port) => {
  expect(parseAuthority(text, defaultPort)).toEqual({ host, port });
});

test.each(
  [
    [
      '',
      'a.test',
      'a.test:',
      'a.test:0',
      'a.test:080',
      'a.test:65536',
      'a.test:+80',
      'a.test:80x',
      ':443',
      'user@a.test:443',
    ],
    [
      'a..test:443',
      'a.test..:443',
      'ä.test:443',
      'a b:443',
      '127.1:443',
      '0x7f.0.0.1:443',
      '2130706433:443',
      '010.0.0.1:443',
    ],
    [
      '::1:443',
      '[::1',
      '[::1]x:443',
      '[fe80::1%eth0]:443',
      '[10.0.0.1]:443',
      '[]:443',
      'a.test\n:443',
      '%61.test:443',
      'a/b:443',
    ],
  ].flat(),
)('no authority: %j', (text) => {
  expect(parseAuthority(text)).toBeUndefined();
});

test('an authority as a header carries it', () => {
  expect(formatAuthority({ host: 'a.test', port: 80 }, 80)).toBe('a.test');
  expect(formatAuthority({ host: '::1', port: 81 }, 80)).toBe('[::1]:81');
});

describe('request targets', () => {
  const request = (
    method: string,
    url: string,
    host: string | undefined = 'a.test',
    httpVersion = '1.1',
  ) => ({
    method,
    url,
    httpVersion,
    headers: host === undefined ? {} : { host },
    rawHeaders: host === undefined ? [] : ['Host', host],
  });
  const dialled: Dialled = { name: 'a.test', port: 8080 };

  test.each<[string, string, string, Dialled | undefined, string, number, string, boolean]>([
    ['GET', 'http://b.test', 'a.test', undefined, 'b.test', 80, '/', false],
    ['GET', 'HTTP://b.test?q', 'a.test', undefined, 'b.test', 80, '/?q', false],
    ['GET', 'http://b.test:81/x?y#'.slice(0, -1), 'a.test', undefined, 'b.test', 81, '/x?y', false],
    ['OPTIONS', 'http://b.test', 'a.test', undefined, 'b.test', 80, '*', false],
    ['GET', '/x', 'a.test', dialled, 'a.test', 8080, '/x', false],
    ['GET', '//x', 'a.test:8080', dialled, 'a.test', 8080, '//x', false],
    ['OPTIONS', '*', 'a.test', dialled, 'a.test', 8080, '*', false],
    ['GET', '/', 'b.test', dialled, 'b.test', 8080, '/', true],
    ['GET', '/', 'a.test:80', dialled, 'a.test', 80, '/', true],
    ['GET', 'http://b.test/', 'a.test', dialled, 'b.test', 8080, '/', true],
    ['GET', '/', 'b.test', { name: undefined, port: 80 }, 'b.test', 80, '/', false],
  ])('%s %s with Host %s', (method, url, host, going, expectedHost, port, path, objects) => {
    const target = requestTarget(request(method, url, host), going);
    expect(target).toMatchObject({ ok: true, authority: { host: expectedHost, port }, path });
    expect(target.ok && target.objection?.reason).toBe(objects ? 'name_mismatch' : undefined);
  });

  test.each<[string, ReturnType<typeof request>, Dialled | undefined]>([
    ['origin form to the proxy', request('GET', '/'), undefined],
    ['https', request('GET', 'https://a.test/'), undefined],
    ['a fragment', request('GET', 'http://a.test/#x'), undefined],
    ['a space', request('GET', 'http://a.test/ x'), undefined],
    ['no Host', { ...request('GET', 'http://a.test/'), headers: {}, rawHeaders: [] }, undefined],
    [
      'two Hosts',
      { ...request('GET', 'http://a.test/'), rawHeaders: ['Host', 'a.test', 'HOST', 'a.test'] },
      undefined,
    ],
    ['an empty Host', request('GET', '/', ''), dialled],
    ['asterisk form of GET', request('GET', '*'), dialled],
    ['HTTP/2.0', request('GET', 'http://a.test/', 'a.test', '2.0'), undefined],
  ])('refused: %s', (_name, value, going) => {
    expect(requestTarget(value, going)).toMatchObject({ ok: false, status: 400 });
  });

  test('CONNECT is for the proxy only', () => {
    expect(connectTarget(request('CONNECT', 'a.test:443'), undefined)).toMatchObject({ ok: true });
    expect(connectTarget(request('CONNECT', 'a.test:443'), dialled)).toMatchObject({
      ok: false,
      status: 400,
    });
  });
});

describe('synthetic names', () => {
  test('a name keeps its address; another name gets another', () => {
    const names = createSyntheticNames({ capacity: 10, graceMs: 1000 });
    const address = names.addressesOf('a.test')?.ipv4;
    expect(address).toBe('198.18.0.1');
    expect(names.addressesOf('a.test')?.ipv4).toBe(address);
    expect(names.addressesOf('b.test')?.ipv4).toBe('198.18.0.2');
    expect(names.nameOf('198.18.0.1')).toBe('a.test');
    expect(names.nameOf('198.18.0.3')).toBeUndefined();
  });

  test('its two addresses are one entry: held together, freed together', () => {
    const names = createSyntheticNames({ capacity: 1, graceMs: 1000, now: () => 0 });
    expect(names.addressesOf('a.test')).toEqual({ ipv4: '198.18.0.1', ipv6: '100::1' });
    expect(['100::1', '0100:0:0:0::1', '::ffff:198.18.0.1'].map(names.nameOf)).toEqual(
      Array(3).fill('a.test'),
    );
    const held = names.hold('100::1');
    expect(names.addressesOf('b.test')).toBeUndefined();
    held[Symbol.dispose]();
    expect(names.addressesOf('b.test')).toEqual({ ipv4: '198.18.0.2', ipv6: '100::2' });
    expect(['198.18.0.1', '100::1'].map(names.nameOf)).toEqual([undefined, undefined]);
  });

  test('addresses are freed after the grace, oldest first, and are not soon used again', () => {
    let now = 0;
    const names = createSyntheticNames({ capacity: 10, graceMs: 1000, now: () => now });
    names.addressesOf('a.test');
    now = 600;
    names.addressesOf('b.test');
    now = 1100;
    expect(names.addressesOf('c.test')?.ipv4).toBe('198.18.0.3');
    expect(names.nameOf('198.18.0.1')).toBeUndefined();
    expect(names.nameOf('198.18.0.2')).toBe('b.test');
    expect(names.addressesOf('a.test')?.ipv4).toBe('198.18.0.4');
  });

  test('a full table gives up the longest unused name, never one that is held', () => {
    const names = createSyntheticNames({ capacity: 2, graceMs: 1000, now: () => 0 });
    const held = names.hold(names.addressesOf('a.test')?.ipv4 ?? '');
    names.addressesOf('b.test');
    names.addressesOf('c.test');
    expect(names.nameOf('198.18.0.1')).toBe('a.test');
    expect(names.nameOf('198.18.0.2')).toBeUndefined();
    using _second = names.hold('198.18.0.3');
    expect(names.addressesOf('d.test')?.ipv4).toBeUndefined();
    held[Symbol.dispose]();
    expect(names.addressesOf('d.test')?.ipv4).toBe('198.18.0.4');
  });

  test('addresses go round, and stay within the network', () => {
    const names = createSyntheticNames({ capacity: 1, graceMs: 1000, now: () => 0 });
    const seen = new Set<string>();
    for (let index = 0; index < 0xfffe; index++) {
      const { ipv4 = '', ipv6 = '' } = names.addressesOf(`n${index}.test`) ?? {};
      seen.add(ipv4).add(ipv6);
    }
    expect(seen.size).toBe(2 * 0xfffe);
    expect([...seen].every(isSynthetic)).toBe(true);
    expect(seen.has('198.18.0.0') || seen.has('198.18.255.255')).toBe(false);
    expect(names.addressesOf('again.test')?.ipv4).toBe('198.18.0.1');
  });

  test('only its own network is synthetic', () => {
    expect(['198.18.0.1', '198.180.0.1', '198.19.0.1'].map(isSynthetic)).toEqual([true, false, false]);
    expect(['100::fffe', '100:0:0:1::1', '100::1:1', '1000::1'].map(isSynthetic)).toEqual([
      ...[true, false, false, false],
    ]);
    // Whatever a policy lists, a connection to one is never dialled for real.
    expect(classifyAddress('100::fffe').reach).toBe('blocked');
  });
});

test('DNS facts: the first of each kind at once, repeats and floods as counts', () => {
  const facts: AuditFact[] = [];
  const record = createDnsRecord((fact) => facts.push(fact), { dnsFactMs: 1_000_000, dnsFacts: 2 });
  const refused = (name: string): DnsFact => ({
    kind: 'dns-refused',
    name,
    type: 'A',
    rcode: 5,
    source: { address: '127.0.0.1', port: 1 },
  });
  for (const name of ['a', 'a', 'b', 'a', 'c', 'd', 'e']) record.add(refused(name));
  const told = () => facts.splice(0).map((fact) => ('name' in fact ? [fact.name, fact.repeats] : []));
  expect(told()).toEqual([
    ['a', undefined],
    ['b', undefined],
    ['c', undefined],
  ]);
  record.flush();
  expect(told()).toEqual([
    ['a', 2],
    ['c', 2],
  ]);
  record.add(refused('a'));
  record.flush();
  expect(told()).toEqual([['a', undefined]]);
});

test('descriptors come in pairs, IPv4 first', () => {
  const listeners = listenersOf({ proxy: [4, 5], transparent: [6], dnsUdp: [], dnsTcp: [7], nflog: 8 });
  expect(listeners.proxy).toEqual([
    { fd: 4, family: 4 },
    { fd: 5, family: 6 },
  ]);
  expect(listeners.dnsUdp).toEqual([]);
  expect([
    familyOf({ fd: 4, family: 6 }),
    familyOf({ host: '::1', port: 1 }),
    familyOf({ host: '127.0.0.1', port: 1 }),
  ]).toEqual([6, 6, 4]);
});

describe('openings', () => {
  test.each([
    ['GET / HTTP/1.1\r\n', 'http'],
    ['M-SEARCH * HTTP/1.1\r\n', 'http'],
    ['NICK agent\r\n', 'other'],
    ['PRI * HTTP/2.0\r\n', 'http2'],
    ['SSH-2.0-OpenSSH\r\n', 'other'],
    ['\x00\x00\x00\x08', 'other'],
    ['GE', undefined],
    ['', undefined],
    ['\x16\x03\x01', undefined],
    ['\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00', 'invalid'],
  ])('%j', (text, kind) => {
    expect(classifyOpening(Buffer.from(text, 'latin1'))?.kind).toBe(kind);
  });
});

describe('the name of a redirected connection', () => {
  const at = { remoteAddress: '203.0.113.7' };
  const synthetic = { remoteAddress: '198.18.0.9' };
  const tls = (serverName?: string) => ({ kind: 'tls', serverName }) as const;
  const other = { kind: 'other' } as const;
  test.each([
    ['server name', tls('a.test'), undefined, at, 'a.test', 'transparent-tls', undefined],
    [
      'server name and dialled name',
      tls('a.test'),
      'a.test',
      synthetic,
      'a.test',
      'transparent-tls',
      undefined,
    ],
    ['two names', tls('b.test'), 'a.test', synthetic, 'a.test', 'transparent-tls', 'name_mismatch'],
    [
      'a server name behind a forgotten address',
      tls('a.test'),
      undefined,
      synthetic,
      'a.test',
      'transparent-tls',
      undefined,
    ],
    ['TLS without name', tls(), 'a.test', synthetic, 'a.test', 'transparent-tls', undefined],
    ['TLS without any name', tls(), undefined, at, '203.0.113.7', 'transparent-tls', undefined],
    ['a dialled name', other, 'a.test', synthetic, 'a.test', 'transparent-dns', undefined],
    ['no name', other, undefined, at, '203.0.113.7', 'transparent-dns', undefined],
    [
      'a forgotten address',
      other,
      undefined,
      synthetic,
      '198.18.0.9',
      'transparent-dns',
      'destination_unknown',
    ],
    [
      'TLS without name to a forgotten address',
      tls(),
      undefined,
      synthetic,
      '198.18.0.9',
      'transparent-tls',
      'destination_unknown',
    ],
    [
      'broken TLS',
      { kind: 'invalid', detail: 'x' } as const,
      'a.test',
      synthetic,
      'a.test',
      'transparent-tls',
      'destination_unknown',
    ],
  ])('%s', (_name, opening, name, flow, host, adapter, reason) => {
    const learned = learn(opening, name, flow);
    expect(learned).toMatchObject({ host, adapter });
    expect(learned.objection?.reason).toBe(reason);
  });
});

describe('the first bytes of a tunnel', () => {
  test.each([
    ['the same name', 'a.test', '', { kind: 'tls', serverName: 'a.test' }, undefined],
    ['another name', 'a.test', '', { kind: 'tls', serverName: 'b.test' }, 'name_mismatch'],
    [
      'another name on a raw endpoint',
      'a.test',
      'tcp',
      { kind: 'tls', serverName: 'b.test' },
      'name_mismatch',
    ],
    ['no name', 'a.test', '', { kind: 'tls', serverName: undefined }, undefined],
    ['a name for an address', '10.0.0.1', '', { kind: 'tls', serverName: 'b.test' }, undefined],
    ['broken TLS', 'a.test', '', { kind: 'invalid', detail: 'x' }, 'name_mismatch'],
    [
      'what looks like broken TLS on a raw endpoint',
      'a.test',
      'tcp',
      { kind: 'invalid', detail: 'x' },
      undefined,
    ],
    ['anything else', 'a.test', '', { kind: 'other' }, undefined],
    [
      'what may hide another name',
      'a.test',
      '',
      { kind: 'tls', serverName: 'a.test', mayHideName: true },
      'name_mismatch',
    ],
    [
      'what may hide another name and shows none',
      'a.test',
      'tcp',
      { kind: 'tls', serverName: undefined, mayHideName: true },
      'name_mismatch',
    ],
    [
      'a hidden name for an address, which promises none',
      '10.0.0.1',
      '',
      { kind: 'tls', serverName: 'b.test', mayHideName: true },
      undefined,
    ],
  ] as const)('%s', (_name, host, protocol, opening, reason) => {
    expect(tunnelObjection(host, { protocol })(opening)?.reason).toBe(reason);
  });

  test('a hidden name passes where a rule says so; the one in sight still has to be right', () => {
    const object = tunnelObjection('a.test', { protocol: '', allowsEncryptedHello: true });
    expect(object({ kind: 'tls', serverName: 'a.test', mayHideName: true })).toBeUndefined();
    expect(object({ kind: 'tls', serverName: 'b.test', mayHideName: true })?.reason).toBe('name_mismatch');
  });
});
