/**
 * The fence of a network namespace that an agent shares with the proxy: what nft-ruleset.ts is to a namespace of the agent's
 * own. One uid, the proxy's, goes where it wants; everybody else's TCP and DNS end at its listeners, and the rest is refused.
 *
 * The text is written as `nft -y -p list table` prints it, so that what the kernel holds can be compared with what was meant.
 */

export interface FencePlan {
  /** The exempt identity; never 0. */
  readonly proxyUid: number;
  readonly proxyPort: number;
  readonly transparentPort: number;
  readonly dnsPort: number;
  /** Undefined where the kernel cannot log; nothing is let through for that. */
  readonly nflogGroup: number | undefined;
  /** TCP ports of the proxy's that may be reached from outside, and from inside by nobody else; ascending and each once. */
  readonly inboundPorts: readonly number[];
}

export const FENCE_TABLE = 'castellan';

/** IP protocols by number: nft knows their names from /etc/protocols, which an image need not have. */
const TCP = 6;
const UDP = 17;
/** Of each refused packet; the network, transport and option headers fit. */
const LOGGED_BYTES = 128;
/** Of connections that the proxy has sent in; the number has no meaning beyond being unlike others'. */
const PROXY_MARK = '0x63617374';

/** The table, for `nft -f -` (nft(8)). */
export function fenceRuleset(plan: FencePlan): string {
  return `table inet ${FENCE_TABLE} {
${diversion(plan)}
${entitlement(plan)}
${departure(plan)}
${arrival(plan)}
}
`;
}

/** What is done to a packet of anybody's before it is judged. */
function diversion({ proxyUid: uid, transparentPort, dnsPort }: FencePlan): string {
  return `  chain zone {
    type filter hook output priority -300; policy accept;
    # A datagram of the proxy's must not meet an address translation that an agent left behind for its port.
    meta l4proto ${UDP} meta skuid != ${uid} ct original zone set 1
  }
  chain divert {
    type nat hook output priority -100; policy accept;
    meta skuid ${uid} accept
    # Loopback too: resolv.conf may name 127.0.0.53.
    meta l4proto { ${TCP}, ${UDP} } th dport 53 redirect to :${dnsPort}
    oifname "lo" accept
    meta l4proto ${TCP} redirect to :${transparentPort}
  }`;
}

/** Who may leave, and what becomes of everybody else. */
function entitlement({ proxyUid: uid, nflogGroup }: FencePlan): string {
  const log =
    nflogGroup === undefined
      ? ''
      : `limit rate 10/second burst 20 packets log prefix "castellan" group ${nflogGroup} snaplen ${LOGGED_BYTES}`;
  return `  chain entitled {
    meta skuid ${uid} ct mark set ${PROXY_MARK} accept
    meta skuid != ${uid} return
    # Nobody's: a closed socket's last bytes, time-wait, resets. Without SYN, as only the proxy may begin or answer.
    ct mark ${PROXY_MARK} tcp flags ! syn accept
    # The kernel's own, without which no IPv6 neighbour is found. No multicast reports: they carry what an agent joins.
    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
  }
  chain refuse {
    # Slow enough that a flood cannot drown a reader; every packet is refused, logged or not.
    ${log}
    # At once, not by a time-out: QUIC clients then fall back to TCP.
    meta l4proto ${TCP} reject with tcp reset
    reject with icmpx admin-prohibited
  }`;
}

function departure({ proxyUid: uid, inboundPorts, ...listeners }: FencePlan): string {
  const { proxyPort, transparentPort, dnsPort } = listeners;
  const own = ports([proxyPort, transparentPort, dnsPort].sort(ascending));
  const inbound =
    inboundPorts.length === 0
      ? ''
      : `oifname "lo" tcp dport ${ports(inboundPorts)} meta skuid != ${uid} goto refuse`;
  return `  chain output {
    type filter hook output priority 0; policy drop;
    # A port that the proxy has lost for a moment must not answer to anybody in its name.
    oifname "lo" meta l4proto { ${TCP}, ${UDP} } th sport ${own} meta skuid != { 0, ${uid} } goto refuse
    # Dialled directly, the listener would take its own address for the destination.
    oifname "lo" tcp dport ${transparentPort} ct status ! dnat goto refuse
    # Health and metrics tell what an agent need not know. By loopback and by the pod's own addresses.
    ${inbound}
    oifname "lo" accept
    # What was diverted; the device told here is still the one that it would have left by.
    ip daddr 127.0.0.0/8 ct status dnat accept
    ip6 daddr ::1 ct status dnat accept
    jump entitled
    meta skuid != ${uid} goto refuse
  }
  chain leave {
    # The device is known now: diverting does not move a socket that is bound to a device (SO_BINDTODEVICE) to loopback.
    type filter hook postrouting priority 0; policy drop;
    oifname "lo" accept
    jump entitled
  }`;
}

function arrival({ inboundPorts }: FencePlan): string {
  const inbound = inboundPorts.length === 0 ? '' : `tcp dport ${ports(inboundPorts)} accept`;
  return `  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct mark ${PROXY_MARK} ct state established,related accept
    ${inbound}
    icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
  }`;
}

/** One transaction: the table takes the place of an older one of its name, or nothing changes. */
export function fenceTransaction(ruleset: string): string {
  return `add table inet ${FENCE_TABLE}\ndelete table inet ${FENCE_TABLE}\n${ruleset}`;
}

/** What a ruleset says, line by line, whether written here or printed by nft. */
export function statementsOf(ruleset: string): readonly string[] {
  return ruleset
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

function ports(numbers: readonly number[]): string {
  return numbers.length === 1 ? String(numbers[0]) : `{ ${numbers.join(', ')} }`;
}

function ascending(one: number, other: number): number {
  return one - other;
}
