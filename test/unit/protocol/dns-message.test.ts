import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import {
  DNS_TYPE,
  type DnsQuery,
  type DnsRecordData,
  frameDnsMessage,
  MAX_QUERY_BYTES,
  parseDnsRequest,
  RCODE,
  renderDnsResponse,
  reverseAddress,
  splitDnsStream,
} from '../../../src/protocol/dns-message.ts';
import { mutate, seededRandom } from '../random.ts';

const u16 = (value: number) => [(value >> 8) & 255, value & 255];
const label = (text: string) => [text.length, ...Buffer.from(text, 'latin1')];
const wireName = (name: string) => [...name.split('.').flatMap(label), 0];

interface Parts {
  readonly flags?: number;
  readonly counts?: readonly [number, number, number, number];
  readonly name?: readonly number[];
  readonly type?: number;
  readonly dnsClass?: number;
  readonly additional?: readonly number[];
}

function message(parts: Parts = {}): Uint8Array {
  const {
    flags = 0x0100,
    name = wireName('Files.Example.org'),
    type = 1,
    dnsClass = 1,
    additional = [],
  } = parts;
  const counts = parts.counts ?? [1, 0, 0, additional.length > 0 ? 1 : 0];
  return Uint8Array.from([
    ...u16(0xbeef),
    ...u16(flags),
    ...counts.flatMap(u16),
    ...name,
    ...u16(type),
    ...u16(dnsClass),
    ...additional,
  ]);
}

const opt = (payload = 4096, version = 0, data: readonly number[] = []) => [
  0,
  ...u16(41),
  ...u16(payload),
  0,
  version,
  0,
  0,
  ...u16(data.length),
  ...data,
];

function parsed(bytes: Uint8Array): DnsQuery {
  const request = parseDnsRequest(bytes);
  if (request.state !== 'query') throw new Error(`is ${request.state}`);
  return request.query;
}

describe('parseDnsRequest', () => {
  it('reads a query', () => {
    expect(parsed(message())).toEqual({
      id: 0xbeef,
      flags: 0x0100,
      name: 'files.example.org',
      type: DNS_TYPE.A,
      question: Uint8Array.from([...wireName('Files.Example.org'), 0, 1, 0, 1]),
      ednsPayload: undefined,
    });
  });

  it('reads EDNS, with options', () => {
    expect(parsed(message({ additional: opt(1400, 0, [0, 10, 0, 2, 1, 2]) })).ednsPayload).toBe(1400);
  });

  it('keeps no hold on the buffer it was given', () => {
    const bytes = Buffer.from(message());
    const { question } = parsed(bytes);
    const before = [...question];
    bytes.fill(0);
    expect([...question]).toEqual(before);
  });

  it.each([
    ['nothing', new Uint8Array(0)],
    ['half a header', message().subarray(0, 11)],
    ['a response', message({ flags: 0x8100 })],
  ])('drops %s', (_, bytes) => {
    expect(parseDnsRequest(bytes)).toEqual({ state: 'drop' });
  });

  // biome-ignore format: one line a case
  const refusals: readonly (readonly [name: string, bytes: Uint8Array, rcode: number])[] = [
    ['another opcode', message({ flags: 0x2800 }), RCODE.NOTIMP],
    ['no question', message({ counts: [0, 0, 0, 0] }), RCODE.FORMERR],
    ['two questions', message({ counts: [2, 0, 0, 0] }), RCODE.FORMERR],
    ['an answer in a query', message({ counts: [1, 1, 0, 0] }), RCODE.FORMERR],
    ['an authority in a query', message({ counts: [1, 0, 1, 0] }), RCODE.FORMERR],
    ['a pointer to itself', message({ name: [0xc0, 12] }), RCODE.FORMERR],
    ['a pointer behind a label', message({ name: [...label('a'), 0xc0, 12] }), RCODE.FORMERR],
    ['a label of an undefined kind', message({ name: [0x41, 0x41, 0] }), RCODE.FORMERR],
    ['a label of 64 bytes', message({ name: [...label('a'.repeat(64)), 0] }), RCODE.FORMERR],
    ['a cut name', message({ name: [60, 97] }), RCODE.FORMERR],
    ['a name without end', message({ name: label('a') }).subarray(0, 14), RCODE.FORMERR],
    ['a name of 256 bytes', message({ name: [...Array(4).fill(label('a'.repeat(62))).flat(), ...label('ab'), 0] }), RCODE.FORMERR],
    ['no type', message().subarray(0, -4), RCODE.FORMERR],
    ['bytes behind the message', Uint8Array.from([...message(), 0]), RCODE.FORMERR],
    ['a second OPT', message({ counts: [1, 0, 0, 2], additional: [...opt(), ...opt()] }), RCODE.FORMERR],
    ['an OPT that is not there', message({ counts: [1, 0, 0, 1] }), RCODE.FORMERR],
    ['an OPT that was not announced', message({ counts: [1, 0, 0, 0], additional: opt() }), RCODE.FORMERR],
    ['an OPT with a name', message({ additional: [...wireName('a'), ...opt().slice(1)] }), RCODE.FORMERR],
    ['another additional record', message({ additional: [0, 0, 250, ...opt().slice(3)] }), RCODE.FORMERR],
    ['an overlong message', message({ additional: opt(512, 0, Array(MAX_QUERY_BYTES).fill(0)) }), RCODE.FORMERR],
    ['a later EDNS', message({ additional: opt(512, 1) }), RCODE.BADVERS],
    ['the root', message({ name: [0] }), RCODE.REFUSED],
    ['a dot inside a label', message({ name: [...label('a.example'), ...label('org'), 0] }), RCODE.REFUSED],
    ['a NUL in a label', message({ name: [...label('a\0'), ...label('org'), 0] }), RCODE.REFUSED],
    ['a name that is an address', message({ name: wireName('127.1') }), RCODE.REFUSED],
    ['another class', message({ dnsClass: 3 }), RCODE.REFUSED],
  ];
  it.each(refusals)('refuses %s', (_, bytes, rcode) => {
    expect(parseDnsRequest(bytes)).toMatchObject({ state: 'refuse', rcode, query: { id: 0xbeef } });
  });

  it('gives one of the three answers to hostile bytes, and every answer to it can be rendered', () => {
    const random = seededRandom(5);
    const seeds = [message(), message({ additional: opt() })];
    const seen = new Set<string>();
    for (let round = 0; round < 4000; round++) {
      const request = parseDnsRequest(
        round % 8 === 0 ? random.bytes(random.below(60)) : mutate(random.pick(seeds), random),
      );
      seen.add(request.state);
      if (request.state === 'query') expect(request.query.name).toMatch(/^[a-z0-9_.-]+$/);
      if (request.state === 'refuse')
        expect(parseDnsRequest(renderDnsResponse(request.query, { rcode: request.rcode }, 'udp'))).toEqual({
          state: 'drop',
        });
    }
    expect([...seen].sort()).toEqual(['drop', 'query', 'refuse']);
  });
});

describe('renderDnsResponse', () => {
  const query = parsed(message({ flags: 0x0110 }));
  const withEdns = parsed(message({ additional: opt(1400) }));

  it('answers with addresses, echoing id, question and flags', () => {
    const response = renderDnsResponse(
      query,
      { rcode: RCODE.NOERROR, records: [a('198.18.0.1'), a('198.18.0.2')], ttlSeconds: 30 },
      'udp',
    );
    const record = (last: number) => [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 198, 18, 0, last];
    expect([...response]).toEqual([
      0xbe,
      0xef,
      0x81,
      0x90,
      0,
      1,
      0,
      2,
      0,
      0,
      0,
      0,
      ...query.question,
      ...record(1),
      ...record(2),
    ]);
  });

  it.each([
    ['no data', RCODE.NOERROR],
    ['FORMERR', RCODE.FORMERR],
    ['SERVFAIL', RCODE.SERVFAIL],
    ['NXDOMAIN', RCODE.NXDOMAIN],
    ['NOTIMP', RCODE.NOTIMP],
    ['REFUSED', RCODE.REFUSED],
  ])('says %s', (_, rcode) => {
    expect([...renderDnsResponse(query, { rcode }, 'udp')]).toEqual([
      0xbe,
      0xef,
      0x81,
      0x90 | rcode,
      0,
      1,
      0,
      0,
      0,
      0,
      0,
      0,
      ...query.question,
    ]);
  });

  it('answers EDNS with EDNS', () => {
    const response = renderDnsResponse(withEdns, { rcode: RCODE.REFUSED }, 'udp');
    expect([...response.subarray(10, 12)]).toEqual([0, 1]);
    expect([...response.subarray(-11)]).toEqual([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
  });

  it('puts the upper bits of BADVERS into EDNS', () => {
    const request = parseDnsRequest(message({ additional: opt(512, 1) }));
    if (request.state !== 'refuse') throw new Error('not refused');
    const response = renderDnsResponse(request.query, { rcode: request.rcode }, 'udp');
    expect([(response[3] ?? 0) & 15, response.at(-6)]).toEqual([0, 1]);
  });

  it('echoes no question that could not be read', () => {
    const request = parseDnsRequest(message({ name: [0xc0, 12] }));
    if (request.state !== 'refuse') throw new Error('not refused');
    expect([...renderDnsResponse(request.query, { rcode: request.rcode }, 'tcp')]).toEqual([
      0xbe, 0xef, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
  });

  it('is cut over UDP at what the client takes, and marked so', () => {
    const answer = { rcode: RCODE.NOERROR, records: Array<DnsRecordData>(40).fill(a('198.18.0.1')) };
    const cut = renderDnsResponse(query, answer, 'udp');
    expect([(cut[2] ?? 0) & 2, cut[7], cut.length <= 512]).toEqual([2, 0, true]);
    const edns = renderDnsResponse(withEdns, answer, 'udp');
    expect([(edns[2] ?? 0) & 2, edns[7]]).toEqual([0, 40]);
    expect(renderDnsResponse(query, answer, 'tcp')[7]).toBe(40);
  });

  it('is understood by a real resolver', async () => {
    const server = createSocket('udp4');
    server.on('message', (bytes, peer) => {
      const request = parseDnsRequest(bytes);
      if (request.state === 'drop') return;
      const answer = request.state === 'refuse' ? { rcode: request.rcode } : answerTo(request.query);
      server.send(renderDnsResponse(request.query, answer, 'udp'), peer.port, peer.address);
    });
    server.bind(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const resolver = new Resolver({ timeout: 5000, tries: 1 });
      resolver.setServers([`127.0.0.1:${server.address().port}`]);
      expect(await resolver.resolve4('Known.example', { ttl: true })).toEqual([
        { address: '198.18.0.7', ttl: 30 },
      ]);
      expect(await resolver.resolve6('known.example')).toEqual(['100::c6:7']);
      expect(await resolver.resolvePtr('known.example')).toEqual(['known.example']);
      await expect(resolver.resolveMx('known.example')).rejects.toMatchObject({ code: 'ENODATA' });
      await expect(resolver.resolve4('other.example')).rejects.toMatchObject({ code: 'EREFUSED' });
    } finally {
      server.close();
    }
  });
});

function a(value: string): DnsRecordData {
  return { type: 'A', value };
}

function recordsOf(type: number): DnsRecordData[] {
  if (type === DNS_TYPE.A) return [a('198.18.0.7')];
  if (type === DNS_TYPE.AAAA) return [{ type: 'AAAA', value: '100::c6:7' }];
  return type === DNS_TYPE.PTR ? [{ type: 'PTR', value: 'known.example' }] : [];
}

function answerTo({ name, type }: DnsQuery) {
  if (name !== 'known.example') return { rcode: RCODE.REFUSED };
  return { rcode: RCODE.NOERROR, ttlSeconds: 30, records: recordsOf(type) };
}

describe('reverseAddress', () => {
  const nibbles = (hex: string) => `${[...hex].reverse().join('.')}.ip6.arpa`;

  it.each([
    ['1.0.18.198.in-addr.arpa', '198.18.0.1'],
    [nibbles(`0100${'0'.repeat(24)}000a`), '100::a'],
    [nibbles(`${'0'.repeat(20)}ffffc6120001`), '198.18.0.1'],
    ['0.18.198.in-addr.arpa', undefined],
    ['1.0.0.18.198.in-addr.arpa', undefined],
    ['256.0.18.198.in-addr.arpa', undefined],
    ['01.0.18.198.in-addr.arpa', undefined],
    ['1.0.18.198.in-addr.arpa.example', undefined],
    [nibbles('0100'), undefined],
    ['in-addr.arpa', undefined],
    ['example.org', undefined],
  ])('%s asks about %s', (name, address) => {
    expect(reverseAddress(name)).toBe(address);
  });
});

describe('DNS over TCP', () => {
  const first = message();
  const second = message({ type: 28 });
  const stream = Buffer.concat([frameDnsMessage(first), frameDnsMessage(second)]);

  it('is split into messages wherever the stream is cut', () => {
    for (let length = 0; length <= stream.length; length++) {
      const split = splitDnsStream(stream.subarray(0, length));
      const count = length >= stream.length ? 2 : length >= first.length + 2 ? 1 : 0;
      expect(split?.messages.map((bytes) => [...bytes])).toEqual([[...first], [...second]].slice(0, count));
      expect(split?.rest.length).toBe(
        length - (split?.messages.reduce((sum, bytes) => sum + bytes.length + 2, 0) ?? 0),
      );
    }
  });

  it.each([0, 11, MAX_QUERY_BYTES + 1, 65_535])('ends at an announced length of %i', (length) => {
    expect(splitDnsStream(Uint8Array.from(u16(length)))).toBeUndefined();
  });
});
