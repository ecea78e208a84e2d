/**
 * The sandbox's DNS. It asks nobody: a name that some rule may allow gets a synthetic address, and is resolved only when
 * a connection to it has been allowed. Otherwise every query would carry data out, before any process was judged.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Report, SocketAddress } from '../../audit/event.ts';
import { errnoOf } from '../../errors.ts';
import type { Decider } from '../../policy/compile.ts';
import {
  DNS_TYPE,
  type DnsAnswer,
  type DnsQuery,
  type DnsRecordData,
  frameDnsMessage,
  parseDnsRequest,
  RCODE,
  renderDnsResponse,
  reverseAddress,
  splitDnsStream,
} from '../../protocol/dns-message.ts';
import type { EgressLimits } from '../limits.ts';
import type { DnsRecord } from './dns-record.ts';
import type { Client } from './entrance.ts';
import { familyOf, type Listener } from './listeners.ts';
import { isSynthetic, type SyntheticNames } from './synthetic-names.ts';

/** It never changes. */
const LOCALHOST_TTL_SECONDS = 60;

export interface DnsMeans {
  readonly decider: Pick<Decider, 'mayName'>;
  readonly names: SyntheticNames;
  /** Whether the workload has IPv6; where it has not, an address of it would only cost a failed connection. */
  readonly ipv6: boolean;
  readonly record: DnsRecord;
  readonly limits: EgressLimits;
  readonly report: Report;
  /** True while facts cannot be taken: then nothing is answered that could not be recorded. */
  readonly congested: () => boolean;
}

/** The answer to one message, or undefined for what deserves none. */
export function respond(
  message: Uint8Array,
  source: SocketAddress,
  transport: 'udp' | 'tcp',
  means: DnsMeans,
): Uint8Array | undefined {
  if (means.congested()) return undefined;
  const request = parseDnsRequest(message);
  if (request.state === 'drop') return undefined;
  const { query } = request;
  const answered = request.state === 'refuse' ? { rcode: request.rcode } : resolve(query, means);
  recordAnswer(query, answered, source, means.record);
  return renderDnsResponse(query, answered, transport);
}

const NODATA: DnsAnswer = { rcode: RCODE.NOERROR };

function resolve({ name, type }: DnsQuery, means: DnsMeans): DnsAnswer {
  const { decider, names, ipv6, limits } = means;
  // RFC 6761 §6.3; of the two loopback addresses every program takes the first.
  if (name === 'localhost' || name.endsWith('.localhost'))
    return type === DNS_TYPE.A || type === DNS_TYPE.ANY
      ? answer(LOCALHOST_TTL_SECONDS, ['A', '127.0.0.1'])
      : NODATA;
  const asked = reverseAddress(name);
  if (asked !== undefined) return reverse(asked, type, means);
  if (!decider.mayName(name)) return { rcode: RCODE.REFUSED };
  // RFC 8482 §4.1: of ANY a part may be answered. What has no address here, such as HTTPS, makes clients go on with one.
  const isAny = type === DNS_TYPE.ANY;
  const [wants4, wants6] = [isAny || type === DNS_TYPE.A, ipv6 && (isAny || type === DNS_TYPE.AAAA)];
  if (!wants4 && !wants6) return NODATA;
  const synthetic = names.addressesOf(name);
  if (synthetic === undefined) return { rcode: RCODE.SERVFAIL };
  return answer(
    limits.dnsTtlSeconds,
    ...(wants4 ? [['A', synthetic.ipv4] as const] : []),
    ...(wants6 ? [['AAAA', synthetic.ipv6] as const] : []),
  );
}

/** Programs log the name behind the address they dialled; other addresses are nobody's to ask about. */
function reverse(address: string, type: number, { names, limits }: DnsMeans): DnsAnswer {
  if (!isSynthetic(address)) return { rcode: RCODE.REFUSED };
  const name = names.nameOf(address);
  if (name === undefined) return { rcode: RCODE.NXDOMAIN };
  return type === DNS_TYPE.PTR || type === DNS_TYPE.ANY
    ? answer(limits.dnsTtlSeconds, ['PTR', name])
    : NODATA;
}

function answer(
  ttlSeconds: number,
  ...records: readonly (readonly [DnsRecordData['type'], string])[]
): DnsAnswer {
  return { rcode: RCODE.NOERROR, records: records.map(([type, value]) => ({ type, value })), ttlSeconds };
}

function recordAnswer(
  { name, type }: DnsQuery,
  { rcode, records = [] }: DnsAnswer,
  source: SocketAddress,
  record: DnsRecord,
): void {
  const asked = { name, type: typeName(type), source };
  const address = records.find((each) => each.type !== 'PTR')?.value;
  if (rcode === RCODE.NOERROR) record.add({ kind: 'dns-answered', ...asked, address });
  // BADVERS does not fit the header's four bits.
  else record.add({ kind: 'dns-refused', ...asked, rcode: rcode & 15 });
}

function typeName(type: number): string {
  return Object.entries(DNS_TYPE).find(([, number]) => number === type)?.[0] ?? `TYPE${type}`;
}

/** Answers over UDP until the socket is closed, which is the caller's to do. */
export async function serveDnsUdp(
  listener: Listener,
  means: DnsMeans,
): Promise<{ socket: UdpSocket; address: AddressInfo }> {
  const family = familyOf(listener);
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
  const failed = (error: Error): void =>
    means.report({ kind: 'internal-error', where: 'egress/dns', message: errnoOf(error) ?? error.message });
  socket.on('message', (message, { address, port }) => {
    const answer = respond(message, { address, port }, 'udp', means);
    // The asker may be gone, and asks again if not.
    if (answer !== undefined) socket.send(answer, port, address, () => {});
  });
  // Awaited from before: bound by descriptor, the socket says so at once.
  const listening = once(socket, 'listening');
  socket.bind('fd' in listener ? { fd: listener.fd } : { address: listener.host, port: listener.port });
  await listening;
  socket.on('error', failed);
  const address = socket.address();
  if (address.family !== `IPv${family}`)
    throw new TypeError(`descriptor of the DNS listener is ${address.family}, not IPv${family}`);
  return { socket, address };
}

/** Answers over one TCP connection, as many queries as come. */
export function serveDnsTcp({ socket }: Client, means: DnsMeans): void {
  const source = { address: socket.remoteAddress ?? '::', port: socket.remotePort ?? 0 };
  let pending: Uint8Array = new Uint8Array(0);
  // Since the last whole query: a byte now and then must not keep the connection.
  const idle = setTimeout(() => socket.destroy(), means.limits.dnsIdleMs);
  socket.once('close', () => clearTimeout(idle));
  socket.on('end', () => socket.end());
  socket.on('data', (chunk: Buffer) => {
    const split = splitDnsStream(Buffer.concat([pending, chunk]));
    if (split === undefined) return void socket.destroy();
    pending = split.rest;
    if (split.messages.length > 0) idle.refresh();
    for (const message of split.messages) {
      const answer = respond(message, source, 'tcp', means);
      if (answer === undefined) return void socket.destroy();
      // A client that does not read is not answered further.
      if (!socket.write(frameDnsMessage(answer))) return void socket.destroy();
    }
  });
}
