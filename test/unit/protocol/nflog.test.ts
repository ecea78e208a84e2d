import { describe, expect, test } from 'vitest';
import { parseNflog } from '../../../src/protocol/nflog.ts';

const ULOG_PACKET = 0x0400;

function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

function message(type: number, ...attributes: Uint8Array[]): Buffer {
  const body = Buffer.concat([Buffer.from([2, 0, 0, 5]), ...attributes]);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + body.length, 0);
  header.writeUInt16LE(type, 4);
  return Buffer.concat([header, body]);
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const uid = (value: number): Buffer => attribute(11, hex(value.toString(16).padStart(8, '0')));
const payload = (packet: Uint8Array): Buffer => attribute(9, packet);
const prefix = attribute(10, Buffer.from('castellan\0'));

/** 198.19.255.253 → 1.2.3.4 with the given protocol, fragment field and payload behind the header. */
const ipv4 = (protocol: number, rest: string, { fragment = '4000', first = '45' } = {}): Buffer =>
  hex(
    `${first}00001d5e02 ${fragment} 40 ${protocol.toString(16).padStart(2, '0')} 12b7 c613fffd 01020304 ${rest}`,
  );
/** fd6c:97a2:5e1b::1 → 2001:db8::1. */
const ipv6 = (next: number, rest: string): Buffer =>
  hex(
    `60000000 0009 ${next.toString(16).padStart(2, '0')} 40 fd6c97a25e1b00000000000000000001 20010db8000000000000000000000001 ${rest}`,
  );

const from4 = '198.19.255.253';
const from6 = 'fd6c:97a2:5e1b::1';

describe('packets', () => {
  test.each([
    ['UDP', ipv4(17, '98ad 01bb 0009ca31 78'), 17, from4, 39085, '1.2.3.4', 443],
    ['TCP with IP options', ipv4(6, '01010101 0016 0050', { first: '46' }), 6, from4, 22, '1.2.3.4', 80],
    ['SCTP', ipv4(132, '0001 0002 00000000'), 132, from4, 1, '1.2.3.4', 2],
    ['ICMP, which has no ports', ipv4(1, '0800 f7fe 0001 0000'), 1, from4, 0, '1.2.3.4', 0],
    [
      'a later fragment, whose bytes are no ports',
      ipv4(17, '98ad 01bb', { fragment: '0001' }),
      17,
      from4,
      0,
      '1.2.3.4',
      0,
    ],
    ['a first fragment', ipv4(17, '98ad 01bb', { fragment: '2000' }), 17, from4, 39085, '1.2.3.4', 443],
    ['ports cut off', ipv4(17, '98ad 01'), 17, from4, 0, '1.2.3.4', 0],
    ['a header length that lies', ipv4(17, '98ad 01bb', { first: '4f' }), 17, from4, 0, '1.2.3.4', 0],
    ['UDP over IPv6', ipv6(17, '98ad 01bb'), 17, from6, 39085, '2001:db8::1', 443],
    [
      'IPv6 hop-by-hop options',
      ipv6(0, '11 00 050200000100 98ad 01bb'),
      17,
      from6,
      39085,
      '2001:db8::1',
      443,
    ],
    [
      'IPv6 two extension headers',
      ipv6(60, '33 01 00000000000000000000000000 00 06 01 0000000000000000 0000 0016 0050'),
      6,
      from6,
      22,
      '2001:db8::1',
      80,
    ],
    ['IPv6 first fragment', ipv6(44, '11 00 0001 00000000 98ad 01bb'), 17, from6, 39085, '2001:db8::1', 443],
    ['IPv6 later fragment', ipv6(44, '11 00 0009 00000000 98ad 01bb'), 17, from6, 0, '2001:db8::1', 0],
    ['IPv6 extension header cut off', ipv6(60, '11 02 0000'), 60, from6, 0, '2001:db8::1', 0],
    [
      'IPv6 extension header longer than the packet',
      ipv6(60, '11 ff 000000000000 98ad 01bb'),
      17,
      from6,
      0,
      '2001:db8::1',
      0,
    ],
    ['ICMPv6', ipv6(58, '8000 0000'), 58, from6, 0, '2001:db8::1', 0],
  ])('%s', (_, packet, protocol, source, sourcePort, destination, destinationPort) => {
    expect(parseNflog(message(ULOG_PACKET, prefix, uid(1000), payload(packet)))).toEqual([
      {
        protocol,
        source: { address: source, port: sourcePort },
        destination: { address: destination, port: destinationPort },
        uid: 1000,
      },
    ]);
  });

  test.each([
    ['empty', ''],
    ['shorter than its header', '4500001d5e02'],
    ['of another IP version', '55'.repeat(60)],
    ['IPv6 shorter than its header', `60${'00'.repeat(38)}`],
  ])('one that is %s is passed over', (_, packet) => {
    expect(parseNflog(message(ULOG_PACKET, uid(1000), payload(hex(packet))))).toEqual([]);
  });
});

describe('messages', () => {
  const udp = payload(ipv4(17, '98ad 01bb'));

  test('several in one datagram, with others between', () => {
    const datagram = Buffer.concat([
      message(ULOG_PACKET, uid(1), udp),
      message(3),
      message(2, udp),
      message(ULOG_PACKET, udp, uid(4294967294)),
    ]);
    expect(parseNflog(datagram).map((packet) => packet.uid)).toEqual([1, 4294967294]);
  });

  test('without a uid', () => {
    expect(parseNflog(message(ULOG_PACKET, udp)).map((packet) => packet.uid)).toEqual([undefined]);
  });

  test('a view into a larger buffer', () => {
    const datagram = message(ULOG_PACKET, udp);
    const larger = Buffer.concat([Buffer.alloc(7, 0xff), datagram, Buffer.alloc(9, 0xff)]);
    expect(parseNflog(larger.subarray(7, 7 + datagram.length))).toHaveLength(1);
  });

  test('every truncation and every single broken length ends without an error', () => {
    const datagram = Buffer.concat([message(ULOG_PACKET, prefix, uid(1), udp), message(ULOG_PACKET, udp)]);
    for (let length = 0; length < datagram.length; length++)
      expect(parseNflog(datagram.subarray(0, length)).length).toBeLessThan(2);
    for (let index = 0; index < datagram.length; index++)
      for (const value of [0, 1, 3, 0x7f, 0xff]) {
        const broken = Buffer.from(datagram);
        broken[index] = value;
        expect(parseNflog(broken).length).toBeLessThanOrEqual(2);
      }
  });
});
