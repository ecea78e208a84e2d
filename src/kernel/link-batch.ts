/**
 * The links and addresses of the sealed namespace, as input for `ip -batch -` (ip(8)). The pair gives the agent a
 * source address and a default route, so that connect(2) succeeds and the ruleset sees the packet; both ends are inside.
 */
import { CastellanError } from '../errors.ts';

/** Inside 198.18.0.0/15 (RFC 2544), which no real host has; the DNS hands out addresses of its first half only. */
export const PAIR_ADDRESS_4 = '198.19.255.253';
const NOWHERE_4 = '198.19.255.254';
/** A unique local prefix (RFC 4193) of our own, generated once at random. */
export const PAIR_ADDRESS_6 = 'fd6c:97a2:5e1b::1';
const NOWHERE_6 = 'fd6c:97a2:5e1b::2';

/** Leaves one of the kernel's 15 characters for the other end's suffix; nothing that `ip` could take for another word. */
const INTERFACE_NAME = /^[a-z][a-z0-9-]{0,13}$/;

/**
 * Text for `ip -batch -`; without IPv6 where the kernel has none.
 * @throws CastellanError `internal` for an interface name that is not a plain word of at most 14 characters
 */
export function linkBatch(options: { readonly ipv6: boolean; readonly interfaceName: string }): string {
  const { ipv6, interfaceName: pair } = options;
  if (!INTERFACE_NAME.test(pair))
    throw new CastellanError('internal', 'not an interface name', { step: 'namespace/links', object: pair });
  const peer = `${pair}p`;
  const lines = [
    'link set dev lo up',
    `link add name ${pair} type veth peer name ${peer}`,
    // No link-local addresses: with them the kernel would look for neighbours and routers that cannot be there.
    ...(ipv6 ? [pair, peer].map((name) => `link set dev ${name} addrgenmode none`) : []),
    `link set dev ${peer} up`,
    `link set dev ${pair} up`,
    `address add ${PAIR_ADDRESS_4}/30 dev ${pair}`,
    `route add default via ${NOWHERE_4} dev ${pair} onlink`,
  ];
  if (ipv6)
    lines.push(
      // Duplicate address detection would keep the address from use for a second.
      `address add ${PAIR_ADDRESS_6}/126 dev ${pair} nodad`,
      `route add default via ${NOWHERE_6} dev ${pair} onlink`,
    );
  return `${lines.join('\n')}\n`;
}
