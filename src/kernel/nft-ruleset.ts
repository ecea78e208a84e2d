/**
 * The ruleset of the sealed namespace, as input for `nft -f -` (nft(8)): every TCP connection that leaves loopback
 * goes to the transparent listener, every DNS query to the resolver, and the rest is refused at once and logged.
 */

export interface RulesetPlan {
  readonly transparentPort: number;
  readonly dnsPort: number;
  readonly nflogGroup: number;
  /** The pair's own addresses: traffic to them never leaves the namespace. */
  readonly ownAddress4: string;
  readonly ownAddress6: string;
}

/** Of each refused packet; the network, transport and option headers fit. */
const LOGGED_BYTES = 128;

/** Text for `nft -f -`, for a namespace without any other table. */
export function nftRuleset(plan: RulesetPlan): string {
  const local4 = `ip daddr { 127.0.0.0/8, ${plan.ownAddress4} } accept`;
  const local6 = `ip6 daddr { ::1, ${plan.ownAddress6} } accept`;
  return `table inet castellan {
  chain divert {
    type nat hook output priority -100; policy accept;
    # Loopback too: resolv.conf may name 127.0.0.53.
    meta l4proto { tcp, udp } th dport 53 redirect to :${plan.dnsPort}
    # The agent's own servers.
    ${local4}
    ${local6}
    meta l4proto tcp redirect to :${plan.transparentPort}
  }
  chain output {
    type filter hook output priority filter; policy drop;
    # Dialled directly, the listener would take its own address for the destination.
    tcp dport ${plan.transparentPort} ip daddr 127.0.0.0/8 ct status & dnat == 0 reject with tcp reset
    tcp dport ${plan.transparentPort} ip6 daddr ::1 ct status & dnat == 0 reject with tcp reset
    # After the redirection: what it rewrote now goes to loopback, though its device is still the pair.
    ${local4}
    ${local6}
    # The kernel's own, for neighbours and multicast groups: nobody asked for it, and nobody is there.
    icmpv6 type != echo-request drop
    meta l4proto igmp drop
    # Slow enough that a flood cannot drown the reader; every packet is refused, logged or not.
    limit rate 10/second burst 20 packets log prefix "castellan" group ${plan.nflogGroup} snaplen ${LOGGED_BYTES}
    # At once, not by a time-out: QUIC clients then fall back to TCP.
    reject with icmpx admin-prohibited
  }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
  }
}
`;
}
