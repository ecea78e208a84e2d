import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import dnsPacket from 'dns-packet';
import { ByteReader } from '../../../src/protocol/byte-reader.ts';
import * as der from '../../../src/protocol/der.ts';
import {
  type DnsQuery,
  frameDnsMessage,
  parseDnsRequest,
  renderDnsResponse,
  splitDnsStream,
} from '../../../src/protocol/dns-message.ts';
import { parseHostName } from '../../../src/protocol/host-name.ts';
import { beginsHttp2, looksLikeHttp } from '../../../src/protocol/http-head.ts';
import { parseNflog } from '../../../src/protocol/nflog.ts';
import { certificate, certificateToSign, pem } from '../../../src/protocol/x509.ts';
import { choiceTarget, returnsOr, type Target, textTarget } from '../target.ts';

function dnsQuery(name: string, type: 'A' | 'AAAA', edns: boolean): Uint8Array {
  return dnsPacket.encode({
    type: 'query',
    id: 0x1234,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type, name }],
    additionals: edns
      ? [{ type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0, options: [], ednsVersion: 0 } as never]
      : [],
  });
}

const RECORDS = [
  { type: 'A', value: '198.18.0.7' },
  { type: 'AAAA', value: '100::7' },
  { type: 'PTR', value: 'a.example.com' },
] as const;

const dns: Target = {
  name: 'dns-message',
  seeds: [
    dnsQuery('example.com', 'A', false),
    dnsQuery('a.very.long.name.of.many.labels.example', 'AAAA', true),
    dnsQuery(`${'x'.repeat(63)}.example`, 'A', true),
  ],
  words: ['\x00\x00\x29', '\x04evil\x03com\x00', Uint8Array.of(0xc0, 0x0c)],
  maxBytes: 5000,
  check(input) {
    const request = parseDnsRequest(input);
    if (request.state === 'drop') return;
    const { query } = request;
    if (request.state === 'query') checkQuestion(input, query);
    const rcode = request.state === 'refuse' ? request.rcode : 0;
    const kind = RECORDS[(input[1] ?? 0) % RECORDS.length] ?? RECORDS[0];
    const records =
      request.state === 'query' ? Array.from({ length: (input[0] ?? 0) % 100 }, () => kind) : [];
    for (const transport of ['udp', 'tcp'] as const) {
      const response = renderDnsResponse(query, { rcode, records, ttlSeconds: 10 }, transport);
      assert.equal(parseDnsRequest(response).state, 'drop', 'an answer to an answer would be a loop');
      if (transport === 'udp')
        assert.ok(response.length <= Math.max(512, Math.min(1232, query.ednsPayload ?? 0)));
      const decoded = dnsPacket.decode(Buffer.from(response));
      assert.equal(decoded.id, query.id);
      const isCut = ((decoded.flags ?? 0) & 0x0200) !== 0;
      assert.equal(decoded.answers?.length, isCut ? 0 : records.length);
      for (const answer of decoded.answers ?? [])
        assert.deepEqual([answer.type, 'data' in answer && answer.data], [kind.type, kind.value]);
    }
  },
};

/** What castellan decides about is the name that any other reader of the message finds. */
function checkQuestion(input: Uint8Array, { name, type, id }: DnsQuery): void {
  const message = Buffer.from(input);
  const [question] =
    dnsPacket.decode(Buffer.concat([message.subarray(0, 10), Buffer.alloc(2), message.subarray(12)]))
      .questions ?? [];
  assert.ok(question !== undefined);
  assert.equal(question.name.toLowerCase(), name);
  assert.equal(message.readUInt16BE(0), id);
  if (type === 1) assert.equal(question.type, 'A');
  if (type === 28) assert.equal(question.type, 'AAAA');
}

const dnsStream = choiceTarget({
  name: 'dns-stream',
  check(choices) {
    const messages = choices.list(4, () => Buffer.alloc(12 + choices.below(300), choices.byte()));
    const stream = Buffer.concat([...messages.map(frameDnsMessage), choices.bytes(14)]);
    const whole = splitDnsStream(stream);
    const found: Uint8Array[] = [];
    let held: Uint8Array = Buffer.alloc(0);
    for (let at = 0; at < stream.length; ) {
      const size = 1 + choices.below(64);
      const split = splitDnsStream(Buffer.concat([held, stream.subarray(at, at + size)]));
      at += size;
      if (split === undefined) {
        assert.equal(whole, undefined, 'how a stream is cut into packets changes what it is');
        return;
      }
      found.push(...split.messages);
      held = split.rest;
    }
    assert.ok(whole !== undefined);
    assert.deepEqual(
      found.map((each) => Buffer.from(each)),
      whole.messages.map((each) => Buffer.from(each)),
    );
    assert.deepEqual(Buffer.from(held), Buffer.from(whole.rest));
    for (const [index, message] of messages.entries())
      assert.deepEqual(Buffer.from(whole.messages[index] ?? []), message);
  },
});

const httpHead: Target = {
  name: 'http-head',
  seeds: [
    'GET / HTTP/1.1\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'OPTIONS * HTTP/1.1',
    'VERSION-CONTROL /x',
  ],
  maxBytes: 64,
  check(input) {
    let settled: boolean | undefined;
    for (let length = 1; length <= input.length; length++) {
      const answer = looksLikeHttp(input.subarray(0, length));
      if (settled !== undefined) assert.equal(answer, settled, 'more bytes change what was certain');
      settled = answer;
      if (length > 22) assert.notEqual(answer, undefined, 'it is to be known after the longest method');
    }
    if (beginsHttp2(input)) assert.equal(looksLikeHttp(input), false);
  },
};

const hostName = textTarget({
  name: 'host-name',
  seeds: [
    'example.com',
    'a_b.x-y.Example',
    '127.1',
    'x.0x7f',
    '\u212aelvin.example',
    'xn--bcher-kva.example',
  ],
  words: ['.', '0x', '1', '\u212a', '\u017f', 'xn--', '%2e', '\u3002'],
  maxBytes: 400,
  check(text) {
    const name = parseHostName(text);
    if (name === undefined) return;
    assert.match(name, /^[a-z0-9_.-]{1,253}$/);
    assert.equal(parseHostName(name), name);
    // Every client that goes by the URL standard means the same host, or none.
    const url = returnsOr(
      () => new URL(`http://${text}/`),
      (error) => error instanceof TypeError,
    );
    if (url === undefined) assert.match(name, /xn--/);
    else assert.equal(url.hostname, name);
    assert.equal(isIP(name), 0);
  },
});

const nflog: Target = {
  name: 'nflog',
  seeds: [
    nflogMessage('450000280000400040060000c6120001c633640a9c4001bb', 1000),
    nflogMessage(`6000000000140640${'20'.repeat(32)}9c4001bb`, 0),
  ],
  maxBytes: 64 * 1024,
  check(input) {
    const packets = parseNflog(input);
    assert.ok(packets.length <= input.length / 16);
    for (const { source, destination, protocol } of packets)
      for (const { address, port } of [source, destination]) {
        assert.notEqual(isIP(address), 0);
        assert.ok(port >= 0 && port <= 65_535 && protocol >= 0 && protocol <= 255);
      }
  },
};

function nflogMessage(packetHex: string, uid: number): Uint8Array {
  const packet = Buffer.from(packetHex, 'hex');
  const attribute = (type: number, value: Buffer): Buffer => {
    const bytes = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4);
    bytes.writeUInt16LE(4 + value.length, 0);
    bytes.writeUInt16LE(type, 2);
    value.copy(bytes, 4);
    return bytes;
  };
  const owner = Buffer.alloc(4);
  owner.writeUInt32BE(uid);
  const body = Buffer.concat([Buffer.alloc(4), attribute(11, owner), attribute(9, packet)]);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + body.length, 0);
  header.writeUInt16LE(0x0400, 4);
  return Buffer.concat([header, body]);
}

const byteReader = choiceTarget({
  name: 'byte-reader',
  check(choices) {
    const bytes = choices.bytes(64);
    const reader = new ByteReader(bytes);
    let at = 0;
    let failed = false;
    while (!choices.exhausted) {
      const size = choices.pick([1, 2, 3, 4] as const);
      const isVector = size < 4 && choices.chance(2);
      const wanted: number | undefined =
        failed || at + size > bytes.length ? undefined : Buffer.from(bytes).readUIntBE(at, size);
      const end: number | undefined = wanted === undefined ? undefined : at + size + (isVector ? wanted : 0);
      failed ||= end === undefined || end > bytes.length;
      if (isVector) {
        const expected: Uint8Array | readonly number[] = failed ? [] : bytes.subarray(at + size, end);
        assert.deepEqual([...reader.vector(size as 1 | 2 | 3)], [...expected]);
      } else assert.equal(reader.number(size), failed ? 0 : wanted);
      if (!failed && end !== undefined) at = end;
      assert.equal(reader.failed, failed);
      assert.equal(reader.finished, !failed && at === bytes.length);
    }
  },
});

const KEY = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
  type: 'spki',
  format: 'der',
});

/** A writer has no bytes from outside to read, but values: OpenSSL, behind Node, reads what it made of them. */
const x509 = choiceTarget({
  name: 'x509',
  check(choices) {
    const host = choices.pick([
      `${choices.text('ab1-', 20)}x.example`,
      `10.${choices.byte()}.${choices.byte()}.1`,
      `2001:db8::${(choices.byte() * 256 + choices.byte()).toString(16)}`,
      '::',
      '::1',
      'fe80::1:2:3:4',
    ]);
    const serial = Uint8Array.from([...choices.bytes(19), 1]);
    const notBefore = new Date(Date.UTC(2000 + choices.byte(), choices.below(12), 1 + choices.below(28)));
    const toSign = certificateToSign({
      serial,
      issuer: `issuer ${choices.text('abé\u{1f600}', 30)}`,
      subject: choices.chance(2) ? '' : choices.text('ab', 200),
      notBefore,
      notAfter: new Date(notBefore.getTime() + 86_400_000),
      publicKey: KEY,
      subjectKeyId: choices.bytes(20),
      authorityKeyId: choices.bytes(20),
      use: choices.chance(4) ? { kind: 'authority' } : { kind: 'server', host },
    });
    const made = new X509Certificate(
      pem(certificate(toSign, der.sequence(der.integer(serial), der.integer(serial)))),
    );
    assert.equal(BigInt(`0x${made.serialNumber}`), BigInt(`0x${Buffer.from(serial).toString('hex')}`));
    assert.equal(Date.parse(made.validFrom), notBefore.getTime());
    if (!made.ca && made.subjectAltName !== undefined && isIP(host) === 0) assert.ok(made.checkHost(host));
    if (!made.ca && made.subjectAltName !== undefined && isIP(host) !== 0) assert.ok(made.checkIP(host));
  },
});

export const PROTOCOL_TARGETS: readonly Target[] = [
  dns,
  dnsStream,
  httpHead,
  hostName,
  nflog,
  byteReader,
  x509,
];
