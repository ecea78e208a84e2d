/**
 * IP addresses and CIDR blocks as numbers. An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) is its IPv4 address here, because
 * the kernel sends to that one. No zone identifiers, no octal, hexadecimal or short forms of IPv4.
 */
export interface Address {
  readonly family: 4 | 6;
  readonly value: bigint;
}

export interface Block extends Address {
  /** `value` has no bits beyond it. */
  readonly prefix: number;
}

const MAPPED_PREFIX = 0xffffn;
const BITS = { 4: 32, 6: 128 } as const;

/** The address a literal stands for, or undefined when it is none. */
export function parseAddress(text: string): Address | undefined {
  const address = parseUnmapped(text);
  return address === undefined ? undefined : unmap(address);
}

/** The one spelling of an address: dotted decimal, or RFC 5952 for IPv6. */
export function formatAddress({ family, value }: Address): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
  const groups = Array.from({ length: 8 }, (_, index) =>
    ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16),
  );
  const zeros = longestZeroRun(groups);
  if (zeros.length < 2) return groups.join(':');
  return `${groups.slice(0, zeros.start).join(':')}::${groups.slice(zeros.start + zeros.length).join(':')}`;
}

/** `parseAddress` and `formatAddress` in one: two literals of one address give the same text. */
export function canonicalAddress(text: string): string | undefined {
  const address = parseAddress(text);
  return address === undefined ? undefined : formatAddress(address);
}

/** A CIDR block, or a single address as the block that holds only it. Bits beyond the prefix are cleared. */
export function parseBlock(text: string): Block | undefined {
  const [literal = '', length, ...rest] = text.split('/');
  const address = parseUnmapped(literal);
  if (address === undefined || rest.length > 0) return undefined;
  if (length !== undefined && !/^(?:0|[1-9][0-9]{0,2})$/.test(length)) return undefined;
  const prefix = length === undefined ? BITS[address.family] : Number(length);
  if (prefix > BITS[address.family]) return undefined;
  const unmapped = prefix >= 96 ? unmap(address) : address;
  const shortened = unmapped.family === address.family ? prefix : prefix - 96;
  return { family: unmapped.family, value: network(unmapped, shortened), prefix: shortened };
}

/** The one spelling of a block. */
export function formatBlock(block: Block): string {
  return `${formatAddress(block)}/${block.prefix}`;
}

/** Whether the address lies in the block. */
export function contains(block: Block, address: Address): boolean {
  return block.family === address.family && network(address, block.prefix) === block.value;
}

/** Whether every address of `inner` lies in `outer`. */
export function covers(outer: Block, inner: Block): boolean {
  return outer.prefix <= inner.prefix && contains(outer, inner);
}

function network({ family, value }: Address, prefix: number): bigint {
  const host = BigInt(BITS[family] - prefix);
  return (value >> host) << host;
}

function unmap(address: Address): Address {
  if (address.family === 4 || address.value >> 32n !== MAPPED_PREFIX) return address;
  return { family: 4, value: address.value & 0xffff_ffffn };
}

function parseUnmapped(text: string): Address | undefined {
  const family = text.includes(':') ? 6 : 4;
  const value = family === 6 ? parseIpv6(text) : parseIpv4(text);
  return value === undefined ? undefined : { family, value };
}

const OCTET = /^(?:0|[1-9][0-9]{0,2})$/;
const GROUP = /^[0-9a-fA-F]{1,4}$/;

function parseIpv4(text: string): bigint | undefined {
  const octets = text.split('.');
  if (octets.length !== 4 || !octets.every((octet) => OCTET.test(octet) && Number(octet) <= 255))
    return undefined;
  return octets.reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

/** RFC 4291 §2.2. Not by net.isIP(), whose expression alone costs a start some milliseconds. */
function parseIpv6(text: string): bigint | undefined {
  const groupText = text.includes('.') ? withoutDots(text) : text;
  const halves = groupText?.split('::').map((half) => (half === '' ? [] : half.split(':'))) ?? [];
  const [left = [], right] = halves;
  const told = left.length + (right?.length ?? 0);
  // `::` stands for at least one group.
  if (halves.length > 2 || (right === undefined ? told !== 8 : told > 7)) return undefined;
  const groups = [...left, ...Array.from({ length: 8 - told }, () => '0'), ...(right ?? [])];
  if (!groups.every((group) => GROUP.test(group))) return undefined;
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

/** The last two groups may be written as an IPv4 address. */
function withoutDots(text: string): string | undefined {
  const tail = text.lastIndexOf(':') + 1;
  const value = parseIpv4(text.slice(tail));
  if (value === undefined) return undefined;
  return `${text.slice(0, tail)}${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
}

/** The first of the longest runs, as RFC 5952 §4.2.3 asks. */
function longestZeroRun(groups: readonly string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (groups[end] === '0') end++;
    if (end - start > best.length) best = { start, length: end - start };
  }
  return best;
}
