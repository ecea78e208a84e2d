/**
 * NFLOG messages (linux/netfilter/nfnetlink_log.h) as the kernel sends them on a bound NETLINK_NETFILTER socket, and
 * the head of the IPv4 (RFC 791) or IPv6 (RFC 8200) packet in each. Netlink headers are in the machine's byte order,
 * little-endian on all that castellan runs on; attributes of NFLOG and packets are in network order.
 */

export interface LoggedPacket {
  /** IP protocol number; for IPv6 the one behind the extension headers. */
  readonly protocol: number;
  readonly source: PacketEnd;
  readonly destination: PacketEnd;
  /** Who sent it, where the kernel still knew. */
  readonly uid: number | undefined;
}

export interface PacketEnd {
  readonly address: string;
  /** 0 where the protocol has none, or the packet was cut before it. */
  readonly port: number;
}

const NETLINK_HEADER_BYTES = 16;
const FAMILY_HEADER_BYTES = 4;
/** NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET. */
const PACKET_MESSAGE = 0x0400;
const ATTRIBUTE_PAYLOAD = 9;
const ATTRIBUTE_UID = 11;
/** NLA_F_NESTED and NLA_F_NET_BYTEORDER are flags beside the type. */
const ATTRIBUTE_TYPE_MASK = 0x3fff;
const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;

/** TCP, UDP, DCCP, SCTP, UDP-Lite: the first four bytes are the ports. */
const PROTOCOLS_WITH_PORTS: ReadonlySet<number> = new Set([6, 17, 33, 132, 136]);
const FRAGMENT = 44;
const AUTHENTICATION = 51;
/** Hop-by-hop, routing, fragment, authentication, destination options. */
const EXTENSION_HEADERS: ReadonlySet<number> = new Set([0, 43, FRAGMENT, AUTHENTICATION, 60]);

/**
 * The packets in one datagram. Messages of other kinds and packets that are not IP or are cut inside the IP header
 * are passed over: the agent wrote the packet, so its oddities are no error of the reader's.
 */
export function parseNflog(datagram: Uint8Array): LoggedPacket[] {
  const view = viewOf(datagram);
  const packets: LoggedPacket[] = [];
  for (let offset = 0; offset + NETLINK_HEADER_BYTES <= view.byteLength; ) {
    const length = view.getUint32(offset, true);
    if (length < NETLINK_HEADER_BYTES || offset + length > view.byteLength) break;
    if (view.getUint16(offset + 4, true) === PACKET_MESSAGE) {
      const packet = parseMessage(datagram.subarray(offset + NETLINK_HEADER_BYTES, offset + length));
      if (packet !== undefined) packets.push(packet);
    }
    offset += align(length);
  }
  return packets;
}

/** The body of one message: nfgenmsg and attributes. */
function parseMessage(body: Uint8Array): LoggedPacket | undefined {
  const view = viewOf(body);
  let uid: number | undefined;
  let packet: Omit<LoggedPacket, 'uid'> | undefined;
  for (let offset = FAMILY_HEADER_BYTES; offset + 4 <= view.byteLength; ) {
    const length = view.getUint16(offset, true);
    if (length < 4 || offset + length > view.byteLength) break;
    const type = view.getUint16(offset + 2, true) & ATTRIBUTE_TYPE_MASK;
    if (type === ATTRIBUTE_UID && length === 8) uid = view.getUint32(offset + 4);
    if (type === ATTRIBUTE_PAYLOAD) packet = parsePacket(body.subarray(offset + 4, offset + length));
    offset += align(length);
  }
  return packet && { ...packet, uid };
}

function parsePacket(bytes: Uint8Array): Omit<LoggedPacket, 'uid'> | undefined {
  const view = viewOf(bytes);
  if (view.byteLength >= IPV4_HEADER_BYTES && view.getUint8(0) >> 4 === 4) return parseIpv4(bytes, view);
  if (view.byteLength >= IPV6_HEADER_BYTES && view.getUint8(0) >> 4 === 6) return parseIpv6(view);
  return undefined;
}

function parseIpv4(bytes: Uint8Array, view: DataView): Omit<LoggedPacket, 'uid'> {
  const protocol = view.getUint8(9);
  const isFirstFragment = (view.getUint16(6) & 0x1fff) === 0;
  const headerBytes = (view.getUint8(0) & 0x0f) * 4;
  const [source, destination] = isFirstFragment ? parsePorts(view, protocol, headerBytes) : [0, 0];
  return {
    protocol,
    source: { address: bytes.subarray(12, 16).join('.'), port: source },
    destination: { address: bytes.subarray(16, 20).join('.'), port: destination },
  };
}

function parseIpv6(view: DataView): Omit<LoggedPacket, 'uid'> {
  let protocol = view.getUint8(6);
  let offset = IPV6_HEADER_BYTES;
  let isFirstFragment = true;
  while (EXTENSION_HEADERS.has(protocol) && offset + 8 <= view.byteLength) {
    const words = view.getUint8(offset + 1);
    if (protocol === FRAGMENT && (view.getUint16(offset + 2) & 0xfff8) !== 0) isFirstFragment = false;
    // RFC 4302 counts words of 4 bytes less 2, RFC 8200 words of 8 bytes less 1; a fragment header is 8 bytes long.
    const length =
      protocol === AUTHENTICATION ? (words + 2) * 4 : protocol === FRAGMENT ? 8 : (words + 1) * 8;
    protocol = view.getUint8(offset);
    offset += length;
    if (!isFirstFragment) break;
  }
  const [source, destination] = isFirstFragment ? parsePorts(view, protocol, offset) : [0, 0];
  return {
    protocol,
    source: { address: formatIpv6(view, 8), port: source },
    destination: { address: formatIpv6(view, 24), port: destination },
  };
}

function parsePorts(view: DataView, protocol: number, offset: number): [number, number] {
  if (!PROTOCOLS_WITH_PORTS.has(protocol) || offset + 4 > view.byteLength) return [0, 0];
  return [view.getUint16(offset), view.getUint16(offset + 2)];
}

/** RFC 5952, by way of the URL parser, which writes hosts in that form. */
function formatIpv6(view: DataView, offset: number): string {
  const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(offset + 2 * index).toString(16));
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Netlink messages and attributes start at multiples of four. */
function align(length: number): number {
  return (length + 3) & ~3;
}
