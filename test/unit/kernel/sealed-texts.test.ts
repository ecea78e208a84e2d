import { describe, expect, test } from 'vitest';
import { linkBatch } from '../../../src/kernel/link-batch.ts';
import { nftRuleset } from '../../../src/kernel/nft-ruleset.ts';

describe('the ip batch', () => {
  test('with IPv6', () => {
    expect(linkBatch({ ipv6: true, interfaceName: 'cs-1' }).split('\n')).toEqual([
      'link set dev lo up',
      'link add name cs-1 type veth peer name cs-1p',
      'link set dev cs-1 addrgenmode none',
      'link set dev cs-1p addrgenmode none',
      'link set dev cs-1p up',
      'link set dev cs-1 up',
      'address add 198.19.255.253/30 dev cs-1',
      'route add default via 198.19.255.254 dev cs-1 onlink',
      'address add fd6c:97a2:5e1b::1/126 dev cs-1 nodad',
      'route add default via fd6c:97a2:5e1b::2 dev cs-1 onlink',
      '',
    ]);
  });

  test('without IPv6 nothing of it is asked for', () => {
    expect(linkBatch({ ipv6: false, interfaceName: 'cs-1' })).not.toMatch(/fd6c|addrgenmode|nodad/);
  });

  test.each(['', '-x', 'a b', 'a\nlink', 'fifteen-letters', 'A', 'a.b'])(
    'the interface name %j is refused',
    (interfaceName) => {
      expect(() => linkBatch({ ipv6: true, interfaceName })).toThrow(
        expect.objectContaining({ code: 'internal' }),
      );
    },
  );
});

describe('the ruleset', () => {
  const text = nftRuleset({
    transparentPort: 1111,
    dnsPort: 2222,
    nflogGroup: 33,
    ownAddress4: '192.0.2.1',
    ownAddress6: '2001:db8::7',
  });
  const chain = (name: string): string[] => {
    const body = text.split(`chain ${name} {\n`)[1]?.split('\n  }\n')[0] ?? '';
    return body
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => !line.startsWith('#'));
  };

  test('DNS is diverted before loopback is let alone, and TCP after it', () => {
    expect(chain('divert').slice(1)).toEqual([
      'meta l4proto { tcp, udp } th dport 53 redirect to :2222',
      'ip daddr { 127.0.0.0/8, 192.0.2.1 } accept',
      'ip6 daddr { ::1, 2001:db8::7 } accept',
      'meta l4proto tcp redirect to :1111',
    ]);
  });

  test.each(['output', 'input', 'forward'])('the %s chain drops what no rule lets through', (name) => {
    expect(chain(name)[0]).toMatch(/policy drop;$/);
  });

  test('what ends the output chain refuses everything, and logs within the limit', () => {
    expect(chain('output').slice(-2)).toEqual([
      'limit rate 10/second burst 20 packets log prefix "castellan" group 33 snaplen 128',
      'reject with icmpx admin-prohibited',
    ]);
  });
});
