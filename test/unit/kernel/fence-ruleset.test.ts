import { describe, expect, test } from 'vitest';
import { installFence } from '../../../src/kernel/fence.ts';
import { linkLocalDestinations } from '../../../src/kernel/fence-proof.ts';
import {
  type FencePlan,
  fenceRuleset,
  fenceTransaction,
  statementsOf,
} from '../../../src/kernel/fence-ruleset.ts';

const PLAN: FencePlan = {
  proxyUid: 4001,
  proxyPort: 11,
  transparentPort: 22,
  dnsPort: 33,
  nflogGroup: 44,
  inboundPorts: [80, 9000],
};

/** The statements of one chain of the table, its type and policy first. */
function chain(name: string, plan: Partial<FencePlan> = {}): readonly string[] {
  const statements = statementsOf(fenceRuleset({ ...PLAN, ...plan }));
  const begin = statements.indexOf(`chain ${name} {`);
  return statements.slice(begin + 1, statements.indexOf('}', begin));
}

describe('the ruleset of the fence', () => {
  test.each(['output', 'leave', 'input', 'forward'])(
    'the %s chain drops what no rule lets through',
    (name) => {
      expect(chain(name)[0]).toMatch(/^type filter hook \w+ priority 0; policy drop;$/);
    },
  );

  test('the exempt uid is let alone before DNS is diverted, DNS before loopback is let alone, and TCP last', () => {
    expect(chain('divert')).toEqual([
      'type nat hook output priority -100; policy accept;',
      'meta skuid 4001 accept',
      'meta l4proto { 6, 17 } th dport 53 redirect to :33',
      'oifname "lo" accept',
      'meta l4proto 6 redirect to :22',
    ]);
  });

  test('a packet leaves by its owner; nobody’s only where the owner has sent before, and never a SYN', () => {
    expect(chain('entitled')).toEqual([
      'meta skuid 4001 ct mark set 0x63617374 accept',
      'meta skuid != 4001 return',
      'ct mark 0x63617374 tcp flags ! syn accept',
      'icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept',
    ]);
  });

  test('what leaves is judged twice, the second time by the device it leaves by', () => {
    expect(chain('output').slice(-2)).toEqual(['jump entitled', 'meta skuid != 4001 goto refuse']);
    expect(chain('leave').slice(1)).toEqual(['oifname "lo" accept', 'jump entitled']);
  });

  test.each([
    [[], undefined],
    [[9000], 'oifname "lo" tcp dport 9000 meta skuid != 4001 goto refuse'],
    [[80, 9000], 'oifname "lo" tcp dport { 80, 9000 } meta skuid != 4001 goto refuse'],
  ])('inbound ports %j are not reached from inside, before loopback is let alone', (inboundPorts, rule) => {
    const rules = chain('output', { inboundPorts });
    const index = rules.findIndex(
      (line) => line.startsWith('oifname "lo" tcp dport') && !line.includes('dnat'),
    );
    expect(rules[index]).toBe(rule);
    expect(index).toBeLessThan(rules.indexOf('oifname "lo" accept'));
  });

  test('the ports of the proxy answer as the proxy only, in ascending order', () => {
    expect(chain('output', { proxyPort: 99 })[1]).toBe(
      'oifname "lo" meta l4proto { 6, 17 } th sport { 22, 33, 99 } meta skuid != { 0, 4001 } goto refuse',
    );
  });

  test.each([
    [[], undefined],
    [[9000], 'tcp dport 9000 accept'],
    [[80, 9000], 'tcp dport { 80, 9000 } accept'],
  ])('inbound ports %j', (inboundPorts, rule) => {
    const rules = chain('input', { inboundPorts });
    expect(rules.filter((line) => line.startsWith('tcp dport'))).toEqual(rule === undefined ? [] : [rule]);
    expect(rules.length).toBe(rule === undefined ? 4 : 5);
  });

  test('refusals are logged within a limit, and refused in any case', () => {
    const refusals = ['meta l4proto 6 reject with tcp reset', 'reject with icmpx admin-prohibited'];
    expect(chain('refuse')).toEqual([
      'limit rate 10/second burst 20 packets log prefix "castellan" group 44 snaplen 128',
      ...refusals,
    ]);
    expect(chain('refuse', { nflogGroup: undefined })).toEqual(refusals);
  });

  test('a transaction replaces the table, also where there is none', () => {
    expect(statementsOf(fenceTransaction(fenceRuleset(PLAN))).slice(0, 3)).toEqual([
      'add table inet castellan',
      'delete table inet castellan',
      'table inet castellan {',
    ]);
  });
});

test.each([
  ['', []],
  ['00000000000000000000000000000001 01 80 10 80       lo\n', []],
  [
    'fe800000000000000000000000000001 02 40 20 80     eth0\n20010db8000000000000000000000001 02 40 00 80     eth0\nfe800000000000000000000000000002 03 40 20 80  net1.10\n',
    ['fe80::db8%eth0', 'fe80::db8%net1.10'],
  ],
])('link-local destinations of %j', (addresses, destinations) => {
  expect(linkLocalDestinations(addresses)).toEqual(destinations);
});

test.each([53, 3128, 15_001, 15_053])(
  'port %i, which the agent needs, is not one for outside',
  async (port) => {
    const install = installFence({ nft: '/nowhere/nft', proxyUid: 4001, inboundPorts: [80, port] });
    await expect(install).rejects.toMatchObject({ code: 'address_in_use', object: String(port) });
  },
);
