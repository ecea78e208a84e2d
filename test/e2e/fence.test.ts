/** Who gets where through the fence: attempts by uid, protocol, family and direction, with an ear on the wire. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Answering,
  createFenceWorld,
  FAR_4,
  FAR_6,
  type FenceWorld,
  NEIGHBOUR_4,
  NEIGHBOUR_6,
  POD_4,
  POD_6,
  PROXY_UID,
  traffic,
} from '../fakes/fence-world.ts';
import { isRoot } from './sandbox.ts';

const AGENT_UID = 20_101;
const OTHER_UID = 20_103;
const UDP_LITE = 136;
const MPTCP = 262;
/** A fenced world with its proxy, for the tests of one describe. */
function useFence(): () => FenceWorld {
  let world: FenceWorld | undefined;
  beforeAll(async () => {
    world = await createFenceWorld();
    expect(world.networkInit(['--allow-inbound', '9000'])).toMatchObject({ code: 0, stderr: '' });
    await world.heard();
  });
  afterAll(() => world?.[Symbol.asyncDispose]());
  return () => world as FenceWorld;
}

const FAMILIES = [
  {
    family: 'IPv4',
    far: FAR_4,
    neighbour: NEIGHBOUR_4,
    pod: POD_4,
    loopback: '127.0.0.1',
    resolver: '127.0.0.53',
  },
  { family: 'IPv6', far: FAR_6, neighbour: NEIGHBOUR_6, pod: POD_6, loopback: '::1', resolver: '::1' },
] as const;
type Family = (typeof FAMILIES)[number];

type Attempt = readonly [
  what: string,
  request: (family: Family) => readonly unknown[],
  want: unknown | ((family: Family) => unknown),
];

/** Sends a datagram and does not wait for an answer, so that the ending is the kernel's at once. */
const silent = { answered: false };
/** For what nobody answers. */
const briefly = { timeout: 0.3 };

const REFUSED: readonly Attempt[] = [
  [
    'TCP goes to the transparent listener',
    ({ far }) => ['stream', far, 443],
    ({ far }: Family) => `transparent ${far} 443`,
  ],
  [
    'TCP to a neighbour too',
    ({ neighbour }) => ['stream', neighbour, 5555],
    ({ neighbour }: Family) => `transparent ${neighbour} 5555`,
  ],
  [
    'TCP to the listener’s own port elsewhere',
    ({ far }) => ['stream', far, 15_001],
    ({ far }: Family) => `transparent ${far} 15001`,
  ],
  [
    'TCP with data in the SYN',
    ({ far }) => ['stream', far, 443, { text: 'fast' }],
    ({ far }: Family) => `transparent ${far} 443`,
  ],
  ['MPTCP', ({ far }) => ['stream', far, 443, MPTCP], ({ far }: Family) => `transparent ${far} 443`],
  ['DNS by TCP', ({ far }) => ['stream', far, 53], 'resolver'],
  ['DNS', ({ far }) => ['datagram', far, 53], 'resolver'],
  ['DNS of a local resolver', ({ resolver }) => ['datagram', resolver, 53], 'resolver'],
  ['DNS of the pod’s own address', ({ pod }) => ['datagram', pod, 53], 'resolver'],
  ['UDP', ({ far }) => ['datagram', far, 5555, silent], 'EPERM'],
  ['UDP to a neighbour', ({ neighbour }) => ['datagram', neighbour, 5555, silent], 'EPERM'],
  ['QUIC', ({ far }) => ['datagram', far, 443, silent], 'EPERM'],
  ['a datagram in fragments', ({ far }) => ['datagram', far, 5555, { ...silent, size: 60_000 }], 'EPERM'],
  ['DNS in fragments', ({ far }) => ['datagram', far, 53, { size: 60_000 }], 'resolver'],
  ['UDP-Lite', ({ far }) => ['datagram', far, 5555, UDP_LITE, silent], 'EPERM'],
  ['UDP-Lite to port 53', ({ far }) => ['datagram', far, 53, UDP_LITE, silent], 'EPERM'],
  // ICMPv6 tells no errno at once: the socket waits for an answer.
  [
    'an echo request',
    ({ far }) => ['ping', far, briefly],
    ({ family }: Family) => (family === 'IPv4' ? 'EPERM' : 'timeout'),
  ],
  ['UDP bound to the device', ({ far }) => ['datagram', far, 5555, { ...silent, device: 'eth0' }], 'EPERM'],
  [
    'DNS bound to the device, which diverting cannot move',
    ({ far }) => ['datagram', far, 53, { ...silent, device: 'eth0' }],
    'EPERM',
  ],
  [
    'UDP to loopback by the device',
    ({ loopback }) => ['datagram', loopback, 5555, { ...silent, device: 'eth0' }],
    'EPERM',
  ],
  [
    'DNS to loopback by the device',
    ({ loopback }) => ['datagram', loopback, 53, { ...silent, device: 'eth0' }],
    'EPERM',
  ],
  ['TCP bound to the device', ({ far }) => ['stream', far, 443, { ...briefly, device: 'eth0' }], 'timeout'],
  [
    'TCP to loopback by the device',
    ({ loopback }) => ['stream', loopback, 443, { ...briefly, device: 'eth0' }],
    'timeout',
  ],
  ['the proxy', ({ loopback }) => ['stream', loopback, 3128], 'proxy'],
  [
    'the transparent listener dialled directly',
    ({ loopback }) => ['stream', loopback, 15_001],
    'ECONNREFUSED',
  ],
  ['the transparent listener at the pod’s address', ({ pod }) => ['stream', pod, 15_001], 'ECONNREFUSED'],
  ['the health port', ({ loopback }) => ['stream', loopback, 9000], 'ECONNREFUSED'],
  ['the health port at the pod’s address', ({ pod }) => ['stream', pod, 9000], 'ECONNREFUSED'],
  [
    'the health port at another address of loopback',
    ({ resolver }) => ['stream', resolver, 9000],
    'ECONNREFUSED',
  ],
  [
    'the health port from its own number',
    ({ pod }) => ['stream', pod, 9000, { source: 9000 }],
    /^E(CONNREFUSED|ADDRINUSE)$/,
  ],
  [
    'the health port by the device',
    ({ pod }) => ['stream', pod, 9000, { ...briefly, device: 'eth0' }],
    /^(timeout|ECONNREFUSED)$/,
  ],
  ['a service of its own', ({ loopback }) => ['own_service', loopback], 'own service'],
  ['a service of its own at the pod’s address', ({ pod }) => ['own_service', pod], 'own service'],
  ['datagrams among its own', ({ pod }) => ['own_datagrams', pod], 'own datagram'],
];

const FOUR_ONLY: readonly Attempt[] = [
  ['multicast', () => ['datagram', '224.0.0.251', 5353, silent], 'EPERM'],
  ['a broadcast', () => ['datagram', '10.88.0.255', 5555, { ...silent, broadcast: true }], 'EPERM'],
  ['a raw socket', () => ['raw', 'AF_INET', 'SOCK_RAW', 1], 'EPERM'],
  ['a packet socket', () => ['raw', 'AF_PACKET', 'SOCK_DGRAM', 0], 'EPERM'],
  // LSRR (RFC 791): the kernel takes none from who has no CAP_NET_RAW.
  [
    'a source route through loopback',
    () => ['stream', '127.0.0.1', 3128, { options: [[0, 4, '830b04cb007105cb00710501']] }],
    'EPERM',
  ],
];
const SIX_ONLY: readonly Attempt[] = [
  ['multicast', () => ['datagram', 'ff02::fb%eth0', 5353, silent], 'EPERM'],
  ['a link-local neighbour', () => ['datagram', 'fe80::1%eth0', 5555, silent], 'EPERM'],
  // The kernel binds these to the link, from which they cannot be diverted.
  ['DNS of a link-local neighbour', () => ['datagram', 'fe80::1%eth0', 53, briefly], 'timeout'],
  ['TCP to a link-local neighbour', () => ['stream', 'fe80::1%eth0', 443, briefly], 'timeout'],
  ['an IPv4 address in IPv6', () => ['datagram', `::ffff:${FAR_4}`, 5555, silent], 'EPERM'],
  ['TCP to an IPv4 address in IPv6', () => ['stream', `::ffff:${FAR_4}`, 443], `transparent ${FAR_4} 443`],
  [
    'a group, whose reports would carry what its address says',
    () => ['join', 'ff02::5ec:2e7', 'eth0'],
    'joined',
  ],
  // Destination options with eight bytes of padding (RFC 8200).
  [
    'destination options',
    ({ far }) => ['datagram', far, 5555, { ...silent, options: [[41, 59, '0000010400000000']] }],
    'EPERM',
  ],
];

const ROWS = FAMILIES.flatMap((family) =>
  [...REFUSED, ...(family.family === 'IPv4' ? FOUR_ONLY : SIX_ONLY)].map(([what, request, want]) => ({
    what: `${family.family}: ${what}`,
    request: request(family),
    want: typeof want === 'function' ? want(family) : want,
  })),
);

describe.skipIf(!isRoot)('behind the fence, as root', () => {
  describe.each([
    ['the agent', AGENT_UID],
    ['another uid', OTHER_UID],
    ['root without capabilities', 0],
  ])('%s', (_, uid) => {
    const world = useFence();
    let client: Answering;
    beforeAll(async () => {
      await world().proxy();
      client = await world().client(uid);
    });

    test.each(ROWS)('$what', async ({ request, want }) => {
      const ending = await client.ask(...request);
      expect(ending).toEqual(want instanceof RegExp ? expect.stringMatching(want) : want);
      expect(traffic(await world().heard())).toEqual([]);
    });
  });

  test.each([1, 2])(
    'sockets of every kind with options of every kind bring nothing out (seed %i)',
    async (seed) => {
      await using world = await createFenceWorld();
      expect(world.networkInit().code).toBe(0);
      await world.proxy();
      const agent = await world.client(AGENT_UID);
      await world.heard();
      const near = FAMILIES.flatMap(({ far, neighbour, pod, loopback }) => [far, neighbour, pod, loopback]);
      const targets = [
        ...near,
        '10.88.0.255',
        '255.255.255.255',
        '224.0.0.251',
        'ff02::fb%eth0',
        'fe80::1%eth0',
      ];
      const endings = await agent.ask(
        'storm',
        seed,
        10_000,
        [...targets, `::ffff:${FAR_4}`],
        'eth0',
        briefly,
      );
      // Over loopback much is sent, and elsewhere refused.
      expect(endings).toMatchObject({ sent: expect.any(Number), EPERM: expect.any(Number) });
      expect(traffic(await world.heard())).toEqual([]);
    },
  );

  describe('the exempt uid', () => {
    const world = useFence();
    let client: Answering;
    beforeAll(async () => {
      await world().proxy();
      client = await world().client(PROXY_UID);
    });

    test.each(FAMILIES)('$family: goes where it wants', async ({ far, neighbour }) => {
      expect(await client.ask('stream', far, 443)).toBe('origin');
      expect(await client.ask('stream', far, 53)).toBe('origin');
      expect(await client.ask('stream', neighbour, 443)).toBe('origin');
      expect(await client.ask('datagram', far, 53)).toBe('origin');
      expect(await client.ask('datagram', far, 5555)).toBe('origin');
      expect(await client.ask('ping', far)).toBe('echo');
      expect(await client.ask('stream', far, 444)).toBe('ECONNREFUSED');
    });

    test.each(FAMILIES)('$family: reaches its own port from inside', async ({ pod, loopback }) => {
      for (const address of [pod, loopback]) expect(await client.ask('stream', address, 9000)).toBe('health');
    });

    test.each(FAMILIES)('$family: what it has not sent yet when it closes still arrives', async ({ far }) => {
      const sent = await client.ask('bulk', far, 8443, 1_000_000);
      expect(sent).toBeGreaterThan(500_000);
      expect(await world().outside.ask('drain')).toBe(sent);
    });

    test.each(FAMILIES)('$family: only its allowed port is reached from outside', async ({ pod }) => {
      expect(await world().outside.ask('connect', pod, 9000)).toBe('health');
      for (const port of [9001, 3128, 15_001, 15_053, 22])
        expect(await world().outside.ask('connect', pod, port, 0.3)).toBe('timeout');
      expect(await world().outside.ask('datagram', pod, 15_053, 0.3)).toBe('timeout');
    });
  });
});
