import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { blockedPart, checkDestination, classifyAddress } from '../../../src/policy/destination.ts';
import { parseBlock } from '../../../src/policy/match/address.ts';

const vectors: readonly { readonly address: string; readonly reach: string; readonly name: string }[] =
  JSON.parse(readFileSync(new URL('../../vectors/addresses.json', import.meta.url), 'utf8'));

describe('classifyAddress', () => {
  it.each(vectors)('$address is $reach ($name)', ({ address, reach, name }) => {
    expect(classifyAddress(address)).toEqual({ reach, name });
  });
});

const allow = (allowedIps: readonly string[] = [], exactHost = true) =>
  ({
    allow: true,
    rule: 'r',
    matchedBinary: '/usr/bin/curl',
    allowedIps,
    exactHost,
    protocol: '',
    requests: undefined,
  }) as const;

interface Case {
  readonly name: string;
  readonly allowedIps?: readonly string[];
  readonly exactHost?: boolean;
  readonly host?: string;
  readonly port?: number;
  readonly addresses: readonly string[];
  readonly passes?: readonly string[];
  /** Address refused and a part of the reason. */
  readonly refuses?: readonly [string, string];
}

// biome-ignore format: one line a case
const cases: readonly Case[] = [
  { name: 'public addresses pass in their order', addresses: ['8.8.8.8', '2606:4700::1111'], passes: ['8.8.8.8', '2606:4700::1111'] },
  { name: 'addresses come back canonical and once', addresses: ['::ffff:8.8.8.8', '8.8.8.8', '2606:4700:0::1111'], passes: ['8.8.8.8', '2606:4700::1111'] },
  { name: 'no address is refused', addresses: [], refuses: ['', 'has no address'] },
  { name: 'text that is no address is refused', addresses: ['8.8.8.8', 'nonsense'], refuses: ['nonsense', 'not an address'] },
  { name: 'an exactly named host may not be private', addresses: ['10.0.0.1'], refuses: ['10.0.0.1', 'not public (private use)'] },
  { name: 'one private among public ones refuses all', addresses: ['8.8.8.8', '192.168.1.1'], refuses: ['192.168.1.1', 'not public'] },
  { name: 'a private address inside allowed_ips passes', allowedIps: ['10.0.0.0/8'], addresses: ['10.77.0.1'], passes: ['10.77.0.1'] },
  { name: 'a mapped address counts as its IPv4 address', allowedIps: ['10.0.0.0/8'], addresses: ['::ffff:10.77.0.1'], passes: ['10.77.0.1'] },
  { name: 'allowed_ips holds for public addresses too', allowedIps: ['10.0.0.0/8'], addresses: ['8.8.8.8'], refuses: ['8.8.8.8', 'not in allowed_ips'] },
  { name: 'every address must be inside allowed_ips', allowedIps: ['10.0.0.0/8', 'fd00::/8'], addresses: ['10.1.1.1', 'fd00::1', '172.16.0.1'], refuses: ['172.16.0.1', 'not in allowed_ips'] },
  { name: 'loopback stays blocked even if listed', allowedIps: ['127.0.0.0/8'], addresses: ['127.0.0.1'], refuses: ['127.0.0.1', 'loopback'] },
  { name: 'metadata stays blocked inside a listed block', allowedIps: ['100.64.0.0/10'], addresses: ['100.100.100.200'], refuses: ['100.100.100.200', 'cloud metadata'] },
  { name: 'allowed_ips that do not parse allow nothing', allowedIps: ['nonsense'], addresses: ['8.8.8.8'], refuses: ['8.8.8.8', 'not in allowed_ips'] },
  { name: 'a literal host is allowed by being written down', host: '10.0.0.5', addresses: ['10.0.0.5'], passes: ['10.0.0.5'] },
  { name: 'a literal IPv6 host too', host: 'fd00::5', addresses: ['fd00:0::5'], passes: ['fd00::5'] },
  { name: 'a literal host reached through a rule without host is held to allowed_ips', host: '10.0.0.5', exactHost: false, allowedIps: ['10.1.0.0/16'], addresses: ['10.0.0.5'], refuses: ['10.0.0.5', 'not in allowed_ips'] },
  { name: 'a literal host that the rule does not name must be public', host: '10.0.0.5', exactHost: false, addresses: ['10.0.0.5'], refuses: ['10.0.0.5', 'not public'] },
  { name: 'a literal host allows no other address', host: '10.0.0.5', addresses: ['10.0.0.6'], refuses: ['10.0.0.6', 'not in allowed_ips'] },
  { name: 'a literal loopback host stays blocked', host: '127.0.0.1', addresses: ['127.0.0.1'], refuses: ['127.0.0.1', 'loopback'] },
  { name: 'control-plane ports are closed inside allowed_ips', allowedIps: ['10.0.0.0/8'], port: 6443, addresses: ['10.0.0.1'], refuses: ['10.0.0.1', 'control-plane port 6443'] },
  { name: 'and for literal hosts', host: '10.0.0.5', port: 2379, addresses: ['10.0.0.5'], refuses: ['10.0.0.5', 'control-plane port 2379'] },
  { name: 'but not on public addresses of named hosts', port: 6443, addresses: ['8.8.8.8'], passes: ['8.8.8.8'] },
];

describe('checkDestination', () => {
  it.each(cases)(
    '$name',
    ({ allowedIps, exactHost, host = 'origin.example', port = 443, addresses, passes, refuses }) => {
      const checked = checkDestination(allow(allowedIps, exactHost), host, port, addresses);
      if (passes !== undefined) expect(checked).toEqual({ ok: true, addresses: passes });
      else
        expect(checked).toMatchObject({
          ok: false,
          address: refuses?.[0],
          detail: expect.stringContaining(refuses?.[1] ?? ''),
        });
    },
  );
});

describe('blockedPart', () => {
  it.each([
    ['10.0.0.0/8', undefined],
    ['10.1.2.3/32', undefined],
    ['8.8.8.0/24', undefined],
    ['8.0.0.0/5', undefined],
    ['100.64.0.0/10', undefined],
    ['fc00::/7', undefined],
    ['64:ff9b::/96', undefined],
    ['2606:4700::/32', undefined],
    ['0.0.0.0/0', 'link-local'],
    ['0.0.0.0/1', 'this network'],
    ['126.0.0.0/7', 'loopback'],
    ['127.0.0.1/32', 'loopback'],
    ['169.254.0.0/15', 'link-local'],
    ['169.254.169.254/32', 'cloud metadata'],
    ['100.100.100.200/32', 'cloud metadata'],
    ['fd00:ec2::254/128', 'cloud metadata'],
    ['192.0.0.0/2', 'multicast'],
    ['::/0', 'unallocated'],
    ['::1/128', 'loopback'],
    ['2000::/3', 'Teredo'],
    ['fe80::/9', 'unallocated'],
    ['4000::/16', 'unallocated'],
    ['2002:a00::/24', '6to4'],
  ])('%s: %s', (text, name) => {
    const block = parseBlock(text);
    if (block === undefined) throw new Error(`${text} is no block`);
    expect(blockedPart(block)?.name).toBe(name);
  });
});
