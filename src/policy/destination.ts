/**
 * Which addresses may be dialled for an allowed connection. The table is the IANA special-purpose registries for IPv4 and
 * IPv6 (RFC 6890 and its updates), multicast, and the metadata services of cloud providers. What IANA has not given out is
 * blocked, so a new special range is never public by oversight.
 */
import {
  type Address,
  type Block,
  canonicalAddress,
  contains,
  covers,
  formatAddress,
  parseAddress,
  parseBlock,
} from './match/address.ts';
import type { Verdict } from './verdict.ts';

/**
 * public: may be dialled. private: only where the rule lists the address. blocked: never, whatever the policy says.
 */
export type Reach = 'public' | 'private' | 'blocked';

export interface AddressClass {
  readonly reach: Reach;
  /** For a person, e.g. `loopback`. */
  readonly name: string;
}

type Row = readonly [block: string, reach: Reach, name: string];

/** The longest prefix that holds an address decides; IPv4-mapped addresses are judged as IPv4. */
const SPECIAL_ADDRESSES: readonly Row[] = [
  ['0.0.0.0/0', 'public', 'global'],
  ['0.0.0.0/8', 'blocked', 'this network'],
  ['10.0.0.0/8', 'private', 'private use'],
  ['100.64.0.0/10', 'private', 'shared address space'],
  ['100.100.100.200/32', 'blocked', 'cloud metadata'], // Alibaba
  ['127.0.0.0/8', 'blocked', 'loopback'],
  ['168.63.129.16/32', 'blocked', 'cloud metadata'], // Azure wire server
  ['169.254.0.0/16', 'blocked', 'link-local'],
  ['169.254.169.254/32', 'blocked', 'cloud metadata'],
  ['172.16.0.0/12', 'private', 'private use'],
  ['192.0.0.0/24', 'private', 'IETF protocol assignments'],
  ['192.0.0.192/32', 'blocked', 'cloud metadata'], // Oracle
  ['192.0.2.0/24', 'private', 'documentation'],
  ['192.88.99.0/24', 'private', '6to4 relay anycast'],
  ['192.168.0.0/16', 'private', 'private use'],
  ['198.18.0.0/15', 'private', 'benchmarking'],
  ['198.51.100.0/24', 'private', 'documentation'],
  ['203.0.113.0/24', 'private', 'documentation'],
  ['224.0.0.0/4', 'blocked', 'multicast'],
  ['240.0.0.0/4', 'blocked', 'reserved'],
  ['255.255.255.255/32', 'blocked', 'broadcast'],
  ['::/0', 'blocked', 'unallocated'],
  ['::/96', 'blocked', 'IPv4-compatible'],
  ['::/128', 'blocked', 'unspecified'],
  ['::1/128', 'blocked', 'loopback'],
  ['64:ff9b::/96', 'public', 'NAT64'],
  // Where the IPv4 address stands inside this one is the operator's choice, so it cannot be judged.
  ['64:ff9b:1::/48', 'blocked', 'local-use NAT64'],
  ['100::/64', 'blocked', 'discard-only'],
  ['100:0:0:1::/64', 'blocked', 'dummy prefix'],
  ['2000::/3', 'public', 'global'],
  ['2001::/23', 'private', 'IETF protocol assignments'],
  ['2001::/32', 'blocked', 'Teredo'],
  ['2001:1::1/128', 'public', 'port control anycast'],
  ['2001:1::2/128', 'public', 'TURN anycast'],
  ['2001:1::3/128', 'public', 'DNS-SD registration anycast'],
  ['2001:2::/48', 'private', 'benchmarking'],
  ['2001:3::/32', 'public', 'AMT'],
  ['2001:4:112::/48', 'public', 'AS112'],
  ['2001:10::/28', 'blocked', 'ORCHID'],
  ['2001:20::/28', 'blocked', 'ORCHIDv2'],
  ['2001:30::/28', 'blocked', 'drone identifiers'],
  ['2001:db8::/32', 'private', 'documentation'],
  ['2002::/16', 'blocked', '6to4'],
  ['3fff::/20', 'private', 'documentation'],
  ['5f00::/16', 'blocked', 'segment routing identifiers'],
  ['fc00::/7', 'private', 'unique local'],
  ['fd00:42::42/128', 'blocked', 'cloud metadata'], // Scaleway
  ['fd00:ec2::254/128', 'blocked', 'cloud metadata'], // AWS
  ['fd20:ce::254/128', 'blocked', 'cloud metadata'], // Google
  ['fe80::/10', 'blocked', 'link-local'],
  ['fec0::/10', 'private', 'site-local'],
  ['ff00::/8', 'blocked', 'multicast'],
];

/** Its last 32 bits are the IPv4 address that is reached (RFC 6052). */
const NAT64 = block('64:ff9b::/96');

const CLASSES: readonly (AddressClass & { readonly block: Block })[] = SPECIAL_ADDRESSES.map(
  ([text, reach, name]) => ({
    block: block(text),
    reach,
    name,
  }),
).sort((a, b) => b.block.prefix - a.block.prefix);

const UNKNOWN: AddressClass = { reach: 'blocked', name: 'unknown' };

/** Ports of etcd, the Kubernetes API and kubelet: a sandbox that may reach a private network is not to run it. */
const CONTROL_PLANE_PORTS: ReadonlySet<number> = new Set([2379, 2380, 6443, 10250, 10255]);

export type DestinationCheck =
  | {
      readonly ok: true /** Canonical, without repetitions, in the order given. */;
      readonly addresses: readonly string[];
    }
  | {
      readonly ok: false /** The first that was refused; empty if there was none at all. */;
      readonly address: string;
      readonly detail: string;
    };

/** What kind of address a literal is; text that is none counts as blocked. */
export function classifyAddress(ip: string): AddressClass {
  const address = parseAddress(ip);
  return address === undefined ? { reach: 'blocked', name: 'not an address' } : classify(address);
}

/**
 * Why a block may not be listed in allowed_ips: the special range it lies in, or holds, that is never reached; undefined
 * if there is none. A single metadata address inside a wider block stays blocked without making the block useless.
 */
export function blockedPart(wanted: Block): AddressClass | undefined {
  const around = CLASSES.find(({ block }) => covers(block, wanted)) ?? UNKNOWN;
  if (around.reach === 'blocked') return around;
  return CLASSES.find(({ block, reach }) => reach === 'blocked' && covers(wanted, block) && !isSingle(block));
}

/**
 * The check of every resolved address of an allowed connection; all of them must pass. A private address passes only if
 * the rule lists it, in allowed_ips or as a literal host. That the policy names the host exactly is not enough: whoever
 * runs that name's DNS could then point it at anything in the operator's network.
 */
export function checkDestination(
  verdict: Extract<Verdict, { readonly allow: true }>,
  host: string,
  port: number,
  addresses: readonly string[],
): DestinationCheck {
  if (addresses.length === 0) return { ok: false, address: '', detail: `${host} has no address` };
  const listed = listedBlocks(verdict, host);
  const passed = new Set<string>();
  for (const text of addresses) {
    const address = parseAddress(text);
    const problem =
      address === undefined ? 'is not an address' : addressProblem(address, port, listed, verdict.rule);
    if (address === undefined || problem !== undefined)
      return { ok: false, address: text, detail: `${host}: ${text} ${problem}` };
    passed.add(formatAddress(address));
  }
  return { ok: true, addresses: [...passed] };
}

/**
 * The check for an endpoint that the operator wrote down outside the policy, such as a route to a model. Private and loopback
 * addresses are the operator's to name; what is in the clear stays on them.
 */
export function checkOperatorDestination(
  scheme: 'http' | 'https',
  host: string,
  port: number,
  addresses: readonly string[],
): DestinationCheck {
  const refused = addresses.flatMap((text) => {
    const { reach, name } = classifyAddress(text);
    if (reach === 'blocked' && name !== 'loopback')
      return {
        ok: false,
        address: text,
        detail: `${host}: ${text} is ${name}, which is never reached`,
      } as const;
    if (reach === 'public' && scheme === 'http')
      return {
        ok: false,
        address: text,
        detail: `${host}: ${text} is public: http would show the key`,
      } as const;
    return [];
  });
  if (CONTROL_PLANE_PORTS.has(port))
    return { ok: false, address: '', detail: `${host} may not be reached on control-plane port ${port}` };
  if (addresses.length === 0) return { ok: false, address: '', detail: `${host} has no address` };
  return (
    refused[0] ?? {
      ok: true,
      addresses: [...new Set(addresses.flatMap((text) => canonicalAddress(text) ?? []))],
    }
  );
}

/** The blocks the connection is held to; undefined where the rule lists none and public addresses are meant. */
function listedBlocks(
  { allowedIps, exactHost }: Extract<Verdict, { readonly allow: true }>,
  host: string,
): Block[] | undefined {
  // A block that does not parse counts as listed and holds nothing.
  if (allowedIps.length > 0) return allowedIps.map(parseBlock).filter((listed) => listed !== undefined);
  const literal = exactHost ? parseBlock(host) : undefined;
  return literal === undefined ? undefined : [literal];
}

function addressProblem(
  address: Address,
  port: number,
  listed: readonly Block[] | undefined,
  rule: string,
): string | undefined {
  const { reach, name } = classify(address);
  if (reach === 'blocked') return `is ${name}, which is never reached`;
  if (listed === undefined)
    return reach === 'public'
      ? undefined
      : `is not public (${name}), and rule "${rule}" does not list it in allowed_ips`;
  if (!listed.some((block) => contains(block, address))) return `is not in allowed_ips of rule "${rule}"`;
  return CONTROL_PLANE_PORTS.has(port) ? `may not be reached on control-plane port ${port}` : undefined;
}

function classify(address: Address): AddressClass {
  if (contains(NAT64, address)) {
    // RFC 6052 §3.1: this prefix must not stand for addresses that are not global.
    const { reach, name } = classify({ family: 4, value: address.value & 0xffff_ffffn });
    return reach === 'public' ? { reach, name: 'NAT64' } : { reach: 'blocked', name: `NAT64 of ${name}` };
  }
  const { reach, name } = CLASSES.find(({ block }) => contains(block, address)) ?? UNKNOWN;
  return { reach, name };
}

function isSingle({ family, prefix }: Block): boolean {
  return prefix === (family === 4 ? 32 : 128);
}

function block(text: string): Block {
  const parsed = parseBlock(text);
  if (parsed === undefined) throw new TypeError(`${text} is not a block`);
  return parsed;
}
