/** The verb: what it needs, what it says, what it proves, and that every failure leaves the fence closed. */
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createFenceWorld,
  FAR_4,
  type FenceWorld,
  onlyCapabilities,
  type Ran,
  traffic,
} from '../fakes/fence-world.ts';
import { CASTELLAN } from '../fakes/world.ts';
import { isRoot } from './sandbox.ts';

const AGENT_UID = 20_101;
const LIST = ['nft', 'list', 'table', 'inet', 'castellan'];
const LOCAL = ['DNS on loopback', 'DNS by TCP on loopback', 'transparent port dialled directly'];
const DIVERTED = ['TCP', 'DNS', 'DNS by TCP'];
const REFUSED = ['UDP', 'UDP-Lite', 'ICMP echo'];

function isFenced(world: FenceWorld): boolean {
  return world.run(LIST).code === 0;
}

/** The code and step of the one line that a refusal is. */
function refusal({ stderr }: Ran): string | undefined {
  return /^castellan: .* \[(\w+, [\w/-]+)[^\]]*\]; .+\n$/.exec(stderr)?.[1];
}

describe.skipIf(!isRoot)('castellan network-init, as root', () => {
  test('proves both families, sends nothing, and tells it in a line', async () => {
    await using world = await createFenceWorld();
    await world.heard();
    const { code, stdout, stderr } = world.networkInit([
      '--proxy-uid',
      '4294967294',
      '--allow-inbound',
      '9000',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(
      /^castellan: fence installed, exempt uid 4294967294; inbound TCP 9000; IPv4 proved \([^)]+\); IPv6 proved \([^)]+\)\n$/,
    );
    const destinations = (await world.heard()).map(({ destination }) => destination);
    // The kernel's own, from before there was a fence.
    expect(destinations.filter((address) => !address.startsWith('ff02::'))).toEqual([]);
  });

  test.each([
    [
      'with routes',
      {},
      [
        {
          family: 'IPv4',
          destination: '192.0.2.1',
          proved: [...LOCAL, ...DIVERTED, ...REFUSED],
          untried: [],
        },
        {
          family: 'IPv6',
          destination: '2001:db8::1',
          proved: [...LOCAL, ...DIVERTED, ...REFUSED],
          untried: [],
        },
      ],
    ],
    [
      'without IPv6',
      { ipv6: false },
      [
        {
          family: 'IPv4',
          destination: '192.0.2.1',
          proved: [...LOCAL, ...DIVERTED, ...REFUSED],
          untried: [],
        },
      ],
    ],
    [
      'with neighbours alone, of whom IPv6 has link-local ones',
      { routes: 'link' },
      [
        { family: 'IPv4', proved: LOCAL, untried: noRoute([...DIVERTED, ...REFUSED]) },
        {
          family: 'IPv6',
          destination: 'fe80::db8%eth0',
          proved: [...LOCAL, ...REFUSED],
          untried: noRoute(DIVERTED),
        },
      ],
    ],
    [
      'with nothing but loopback',
      { routes: 'none' },
      [
        { family: 'IPv4', proved: LOCAL, untried: noRoute([...DIVERTED, ...REFUSED]) },
        { family: 'IPv6', proved: LOCAL, untried: noRoute([...DIVERTED, ...REFUSED]) },
      ],
    ],
  ] as const)('%s, it says what was proved and what not', async (_, options, families) => {
    await using world = await createFenceWorld(options);
    const { code, stdout, stderr } = world.networkInit(['--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({
      proxyUid: 1337,
      proxyGid: 1337,
      inboundPorts: [],
      wholeMachine: false,
      logged: true,
      families,
    });
  });

  test('an image without any configuration is enough', async () => {
    await using world = await createFenceWorld();
    const emptied = 'mount -t tmpfs tmpfs /etc && exec "$@"';
    const ran = world.run(['unshare', '--mount', 'sh', '-c', emptied, 'sh', CASTELLAN, 'network-init']);
    expect(ran).toMatchObject({ code: 0, stderr: '' });
  });

  describe('what it may', () => {
    const NOT_ROOT = ['setpriv', '--reuid=20101', '--inh-caps=+net_admin', '--ambient-caps=+net_admin'];
    test.each([
      ['NET_ADMIN is enough', ['net_admin'], [], 0],
      ['without it', ['chown', 'dac_override', 'sys_admin'], [], 112],
      ['as somebody else, with it', ['net_admin', 'setuid'], NOT_ROOT, 112],
    ])('%s', async (_, capabilities, become, code) => {
      await using world = await createFenceWorld();
      const ran = world.run([...become, CASTELLAN, 'network-init'], capabilities);
      expect(ran.code).toBe(code);
      expect(isFenced(world)).toBe(code === 0);
      if (code !== 0) expect(refusal(ran)).toBe('privilege_missing, privileges');
    });

    test('CAP_NET_ADMIN is named where it is missing', async () => {
      await using world = await createFenceWorld();
      expect(world.networkInit([], []).stderr).toMatch(/CAP_NET_ADMIN is missing: .* NET_ADMIN, CHOWN /);
    });

    test('the network of the machine itself is left alone unless asked', async () => {
      await using world = await createFenceWorld();
      // What tells that network from others, shown to castellan where nothing can be cut off.
      const pretend =
        'mount -t tmpfs tmpfs /proc/sys/net/core && touch /proc/sys/net/core/dev_weight && exec "$@"';
      const there = ['unshare', '--mount', 'sh', '-c', pretend, 'sh', CASTELLAN, 'network-init'];
      const refused = world.run(there);
      expect(refused.code).toBe(105);
      expect(refusal(refused)).toBe('namespace_failed, privileges');
      expect(isFenced(world)).toBe(false);
      expect(world.run([...there, '--whole-machine']).code).toBe(0);
    });
  });

  describe('what else is in the namespace', () => {
    test.each([
      [
        'a table that translates first',
        'chain c { type nat hook output priority -110; tcp dport 443 redirect to :9; }',
      ],
      [
        'a table that does not follow connections',
        'chain c { type filter hook output priority -310; notrack; }',
      ],
      [
        'a table that drops what was diverted',
        'chain c { type filter hook input priority -10; tcp dport 15001 drop; }',
      ],
      ['a table that drops DNS', 'chain c { type filter hook input priority -10; udp dport 15053 drop; }'],
    ])('%s fails the proof and leaves the fence', async (_, chain) => {
      await using world = await createFenceWorld();
      expect(world.run(['nft', `table inet other {\n${chain}\n}`]).stderr).toBe('');
      const ran = world.networkInit();
      expect(ran.code).toBe(105);
      expect(refusal(ran)).toBe('namespace_failed, fence/proof');
      expect(isFenced(world)).toBe(true);
      const agent = await world.client(AGENT_UID);
      await world.heard();
      expect(await agent.ask('datagram', FAR_4, 5555, { answered: false })).toBe('EPERM');
      await agent.ask('stream', FAR_4, 443, { timeout: 0.3 });
      expect(traffic(await world.heard())).toEqual([]);
    });

    test('loopback that is down fails the proof', async () => {
      await using world = await createFenceWorld();
      world.run(['ip', 'link', 'set', 'lo', 'down']);
      expect(refusal(world.networkInit())).toBe('namespace_failed, fence/proof');
      expect(isFenced(world)).toBe(true);
    });

    test('a port of the proxy’s that somebody has is told, and the fence stays', async () => {
      await using world = await createFenceWorld();
      const agent = await world.client(AGENT_UID);
      await agent.ask('listen', '0.0.0.0', 15_001);
      const ran = world.networkInit();
      expect(ran.code).toBe(109);
      expect(refusal(ran)).toBe('address_in_use, fence/proof');
      expect(isFenced(world)).toBe(true);
    });
  });

  describe('what nft does', () => {
    let directory: string;
    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), 'castellan-nft-'));
      copyFileSync('/usr/sbin/nft', join(directory, 'real'));
    });
    afterAll(() => rmSync(directory, { recursive: true }));

    /** network-init with another nft, which has the real one as $real and the transaction in $input. */
    function withNft(world: FenceWorld, body: string, options: readonly string[] = []): Ran {
      const shim = join(directory, 'nft');
      const head = `#!/bin/sh\nreal=${directory}/real\n[ "$1" = -f ] || exec $real "$@"\ninput=$(cat)\n`;
      writeFileSync(shim, `${head}${body}\n`);
      chmodSync(shim, 0o755);
      const enter = [
        'unshare',
        '--mount',
        'sh',
        '-c',
        `mount --bind ${shim} /usr/sbin/nft && exec "$@"`,
        'sh',
      ];
      return world.run([
        ...enter,
        'setpriv',
        ...onlyCapabilities(['net_admin']),
        CASTELLAN,
        'network-init',
        ...options,
      ]);
    }
    const MISSING =
      'echo "/dev/stdin:11:5-20: Error: Could not process rule: No such file or directory" >&2; exit 1';

    test('a kernel without the module for logs is fenced without, and says so', async () => {
      await using world = await createFenceWorld();
      const lacking = `case $input in *"log prefix"*) ${MISSING};; esac\necho "$input" | $real -f -`;
      const { code, stdout } = withNft(world, lacking, ['--json']);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        logged: false,
        unlogged: expect.stringContaining('ENOENT'),
      });
      expect(world.run(LIST).stdout).not.toMatch('log prefix');
    });

    test('a kernel that lacks what the fence needs is told with the rule, and nothing is installed', async () => {
      await using world = await createFenceWorld();
      const ran = withNft(world, MISSING);
      expect(ran.code).toBe(106);
      expect(refusal(ran)).toBe('kernel_feature_missing, fence/ruleset');
      expect(ran.stderr).toMatch('"meta skuid 1337 accept"');
      expect(isFenced(world)).toBe(false);
    });

    test('a transaction that fails leaves the fence that was there', async () => {
      await using world = await createFenceWorld();
      expect(world.networkInit(['--proxy-uid', '4001']).code).toBe(0);
      const before = world.run(LIST).stdout;
      const failing = '{ echo "$input"; echo "add rule inet castellan nowhere accept"; } | $real -f -';
      expect(withNft(world, failing, ['--proxy-uid', '4002']).code).toBe(106);
      expect(world.run(LIST).stdout).toBe(before);
    });

    test.each([
      ['is lost', '$real flush chain inet castellan leave', 'oifname "lo" accept'],
      ['is added', '$real insert rule inet castellan output accept', 'oifname "lo" meta l4proto'],
      ['comes back at the end', '$real add chain inet castellan zzz', 'chain zzz {'],
    ])('a rule that %s is found out', async (_, change, line) => {
      await using world = await createFenceWorld();
      const ran = withNft(world, `echo "$input" | $real -f - && ${change}`);
      expect(ran.code).toBe(105);
      expect(refusal(ran)).toBe('namespace_failed, fence/read-back');
      expect(ran.stderr).toMatch(line);
      expect(isFenced(world)).toBe(true);
    });
  });
});

function noRoute(attempts: readonly string[]): readonly object[] {
  return attempts.map((attempt) => ({ attempt, reason: 'no route (ENETUNREACH)' }));
}
