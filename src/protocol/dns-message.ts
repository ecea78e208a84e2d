/**
 * DNS messages (RFC 1035, EDNS per RFC 6891), as far as a server needs that answers one question at a time. A query holds
 * exactly one question and at most an OPT record; anything more, and any compression in it, is a format error.
 */
import { canonicalAddress, parseAddress } from '../policy/match/address.ts';
import { ByteReader } from './byte-reader.ts';
import { parseHostName } from './host-name.ts';

export const DNS_TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  SVCB: 64,
  HTTPS: 65,
  ANY: 255,
} as const;
export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

/** A header, one question, and OPT with room for options; more than 16 bits of length would allow. */
export const MAX_QUERY_BYTES = 4096;
/** Fits into one packet on every path (RFC 9715); what we promise to take and the most we send by UDP. */
const UDP_PAYLOAD_BYTES = 1232;
const CLASSIC_UDP_BYTES = 512;
const HEADER_BYTES = 12;
const MAX_NAME_BYTES = 255;
const CLASS_IN = 1;

const FLAG_RESPONSE = 0x8000;
const FLAG_TRUNCATED = 0x0200;
const FLAG_RECURSION_DESIRED = 0x0100;
const FLAG_RECURSION_AVAILABLE = 0x0080;
const FLAG_CHECKING_DISABLED = 0x0010;
const OPCODE_MASK = 0x7800;

export interface DnsQuery {
  readonly id: number;
  /** As in the header. */
  readonly flags: number;
  /** Lower case, no trailing dot. Empty only where the message was refused before it was known. */
  readonly name: string;
  readonly type: number;
  /** As it came, to be echoed byte for byte: clients check the case they sent. */
  readonly question: Uint8Array;
  /** The UDP payload the client takes; undefined without EDNS. */
  readonly ednsPayload: number | undefined;
}

export type DnsRequest =
  /** No query at all; an answer could start a loop. */
  | { readonly state: 'drop' }
  /** To be answered with this code and nothing else. */
  | { readonly state: 'refuse'; readonly rcode: Rcode; readonly query: DnsQuery }
  | { readonly state: 'query'; readonly query: DnsQuery };

export interface DnsRecordData {
  readonly type: 'A' | 'AAAA' | 'PTR';
  /** Dotted decimal, an IPv6 address in any of its spellings, or a host name. */
  readonly value: string;
}

export interface DnsAnswer {
  readonly rcode: Rcode;
  /** None with NOERROR says that the name has no record of the type (NODATA). */
  readonly records?: readonly DnsRecordData[];
  readonly ttlSeconds?: number;
}

/** Reads one message from a client. */
export function parseDnsRequest(message: Uint8Array): DnsRequest {
  const reader = new ByteReader(message);
  const [id, flags] = [reader.number(2), reader.number(2)];
  const [questions, answers, authorities, additionals] = [0, 0, 0, 0].map(() => reader.number(2));
  if (reader.failed || (flags & FLAG_RESPONSE) !== 0) return { state: 'drop' };
  const bare: DnsQuery = {
    id,
    flags,
    name: '',
    type: 0,
    question: new Uint8Array(0),
    ednsPayload: undefined,
  };
  const refuse = (rcode: Rcode, query: DnsQuery = bare): DnsRequest => ({ state: 'refuse', rcode, query });
  if ((flags & OPCODE_MASK) !== 0) return refuse(RCODE.NOTIMP);
  if (message.length > MAX_QUERY_BYTES || questions !== 1 || answers !== 0 || authorities !== 0)
    return refuse(RCODE.FORMERR);
  const labels = readLabels(reader);
  const [type, dnsClass] = [reader.number(2), reader.number(2)];
  if (labels === undefined || reader.failed) return refuse(RCODE.FORMERR);
  const question = Uint8Array.from(message.subarray(HEADER_BYTES, reader.position));
  const edns = additionals === 1 ? readOpt(reader) : undefined;
  if (!reader.finished || additionals !== (edns === undefined ? 0 : 1))
    return refuse(RCODE.FORMERR, { ...bare, question });
  // A dot inside a label would make another name of it.
  const name = labels.some((label) => label.includes('.')) ? undefined : parseHostName(labels.join('.'));
  const query = { ...bare, name: name ?? '', type, question, ednsPayload: edns?.payload };
  if (edns !== undefined && edns.version !== 0) return refuse(RCODE.BADVERS, query);
  return name === undefined || dnsClass !== CLASS_IN
    ? refuse(RCODE.REFUSED, query)
    : { state: 'query', query };
}

/** Labels up to the root, one character a byte; undefined if too long, cut, or compressed. */
function readLabels(reader: ByteReader): string[] | undefined {
  const start = reader.position;
  const labels: string[] = [];
  for (;;) {
    const length = reader.number(1);
    // The two upper bits mark a pointer (or were never defined); a plain label has at most 63 bytes.
    if (reader.failed || length > 63) return undefined;
    if (length === 0) return reader.position - start <= MAX_NAME_BYTES ? labels : undefined;
    labels.push(Buffer.from(reader.bytes(length)).toString('latin1'));
    if (reader.position - start > MAX_NAME_BYTES) return undefined;
  }
}

function readOpt(reader: ByteReader): { readonly payload: number; readonly version: number } | undefined {
  const [root, type, payload] = [reader.number(1), reader.number(2), reader.number(2)];
  const [, version] = [reader.number(1), reader.number(1), reader.number(2)];
  reader.vector(2);
  return reader.failed || root !== 0 || type !== DNS_TYPE.OPT ? undefined : { payload, version };
}

/** The answer to a query; over UDP it is cut to what the client takes, with the mark that asks for TCP. */
export function renderDnsResponse(query: DnsQuery, answer: DnsAnswer, transport: 'udp' | 'tcp'): Uint8Array {
  const { rcode, ttlSeconds = 0 } = answer;
  const records = (answer.records ?? []).map((record) => renderRecord(record, ttlSeconds));
  const opt = query.ednsPayload === undefined && rcode <= 15 ? [] : [renderOpt(rcode)];
  const fixed = HEADER_BYTES + query.question.length + totalLength(opt);
  const isCut = fixed + totalLength(records) > roomFor(query, transport);
  const kept = isCut ? [] : records;
  const header = Buffer.alloc(HEADER_BYTES);
  const echoed = query.flags & (OPCODE_MASK | FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED);
  header.writeUInt16BE(query.id, 0);
  header.writeUInt16BE(
    FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | echoed | (isCut ? FLAG_TRUNCATED : 0) | (rcode & 15),
    2,
  );
  header.writeUInt16BE(query.question.length === 0 ? 0 : 1, 4);
  header.writeUInt16BE(kept.length, 6);
  header.writeUInt16BE(opt.length, 10);
  return Buffer.concat([header, query.question, ...kept, ...opt]);
}

function roomFor({ ednsPayload }: DnsQuery, transport: 'udp' | 'tcp'): number {
  if (transport === 'tcp') return 0xffff;
  // RFC 6891 §6.2.3: values below 512 count as 512.
  return Math.min(UDP_PAYLOAD_BYTES, Math.max(CLASSIC_UDP_BYTES, ednsPayload ?? 0));
}

/** A record whose name points at the question, which stands right behind the header. */
function renderRecord({ type, value }: DnsRecordData, ttlSeconds: number): Buffer {
  const data = renderData(type, value);
  const fixed = Buffer.alloc(12);
  fixed.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
  fixed.writeUInt16BE(DNS_TYPE[type], 2);
  fixed.writeUInt16BE(CLASS_IN, 4);
  fixed.writeUInt32BE(ttlSeconds, 6);
  fixed.writeUInt16BE(data.length, 10);
  return Buffer.concat([fixed, data]);
}

function renderData(type: DnsRecordData['type'], value: string): Uint8Array {
  if (type === 'PTR') {
    const labels = value.split('.').map((label) => Buffer.from(label, 'latin1'));
    return Buffer.concat([
      ...labels.flatMap((label) => [Buffer.from([label.length]), label]),
      Buffer.alloc(1),
    ]);
  }
  const address = parseAddress(value);
  if (address === undefined) throw new TypeError(`${value} is not an address`);
  return Buffer.from(address.value.toString(16).padStart(address.family === 4 ? 8 : 32, '0'), 'hex');
}

function renderOpt(rcode: Rcode): Buffer {
  const record = Buffer.alloc(11);
  record.writeUInt16BE(DNS_TYPE.OPT, 1);
  record.writeUInt16BE(UDP_PAYLOAD_BYTES, 3);
  record.writeUInt8(rcode >> 4, 5);
  return record;
}

function totalLength(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

const REVERSE_4 = /^(?<octets>(?:\d{1,3}\.){4})in-addr\.arpa$/;
const REVERSE_6 = /^(?<digits>(?:[0-9a-f]\.){32})ip6\.arpa$/;

/** The address whose name a PTR query asks for (RFC 1035 §3.5, RFC 3596 §2.5), canonical; undefined for any other name. */
export function reverseAddress(name: string): string | undefined {
  const octets = REVERSE_4.exec(name)?.groups?.['octets'];
  if (octets !== undefined) return canonicalAddress(octets.split('.').reverse().slice(1).join('.'));
  const digits = REVERSE_6.exec(name)?.groups?.['digits']?.split('.').reverse().join('');
  return digits && canonicalAddress(digits.match(/.{4}/g)?.join(':') ?? '');
}

/** A message as it goes over TCP, after its length (RFC 1035 §4.2.2). */
export function frameDnsMessage(message: Uint8Array): Uint8Array {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

/**
 * The whole messages at the start of a TCP stream, and what is left of it. Undefined where a length is announced that no
 * query has: the stream is then good for nothing.
 */
export function splitDnsStream(
  bytes: Uint8Array,
): { readonly messages: readonly Uint8Array[]; readonly rest: Uint8Array } | undefined {
  const messages: Uint8Array[] = [];
  let at = 0;
  while (bytes.length - at >= 2) {
    const length = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
    if (length < HEADER_BYTES || length > MAX_QUERY_BYTES) return undefined;
    if (bytes.length - at - 2 < length) break;
    messages.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return { messages, rest: bytes.subarray(at) };
}
