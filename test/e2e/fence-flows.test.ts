/** Ways around the fence in time: connections from before, ports used again, listeners taken over, re-runs under way. */
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import {
  createFenceWorld,
  FAR_4,
  FAR_6,
  type FenceWorld,
  POD_4,
  POD_6,
  PROXY_UID,
  traffic,
} from '../fakes/fence-world.ts';
import { isRoot } from './sandbox.ts';

const AGENT_UID = 20_101;
const VICTIM_UID = 20_103;
/** For what nobody answers. */
const briefly = { timeout: 0.5 };
const INBOUND = ['--allow-inbound', '9000'];

const FAMILIES = [
  { family: 'IPv4', far: FAR_4, pod: POD_4, loopback: '127.0.0.1' },
  { family: 'IPv6', far: FAR_6, pod: POD_6, loopback: '::1' },
] as const;

function install(world: FenceWorld): void {
  expect(world.networkInit(INBOUND)).toMatchObject({ code: 0, stderr: '' });
}

/** Has the kernel follow connections before there is a fence, as another table of the pod's may. */
function follow(world: FenceWorld): void {
  const table =
    'table inet other { chain output { type filter hook output priority 0; ct state new accept; }; }';
  expect(world.run(['nft', table]).stderr).toBe('');
}

/** Whether a word went over the wire. */
async function heardWord(world: FenceWorld, word: string): Promise<boolean> {
  const hex = Buffer.from(word).toString('hex');
  return (await world.heard()).some(({ payload }) => payload.includes(hex));
}

describe.skipIf(!isRoot)('ways around the fence, as root', () => {
  describe.each(FAMILIES)('$family', ({ far, pod, loopback }) => {
    test('what was connected from outside before the fence carries nothing out', async () => {
      await using world = await createFenceWorld();
      follow(world);
      const agent = await world.client(AGENT_UID);
      expect(await agent.ask('listen', pod, 7777)).toBe('listening');
      expect(await world.outside.ask('keep', pod, 7777)).toBe('connected');
      expect(await agent.ask('accept')).toBe('accepted');
      install(world);
      await agent.ask('say', 'a secret');
      expect(await agent.ask('state')).toBe('ECONNRESET');
      expect(await world.outside.ask('kept', 0.5)).toBe('timeout');
      expect(await heardWord(world, 'a secret')).toBe(false);
    });

    test('what the agent connected before the fence carries nothing out', async () => {
      await using world = await createFenceWorld();
      follow(world);
      const agent = await world.client(AGENT_UID);
      expect(await agent.ask('open_stream', far, 443)).toBe('origin');
      install(world);
      await agent.ask('say', 'a secret');
      expect(await agent.ask('state')).toBe('ECONNRESET');
      expect(await heardWord(world, 'a secret')).toBe(false);
    });

    test.each([1, 2])(
      'an agent on the proxy’s inbound port is not reached (SYN cookies %i)',
      async (cookies) => {
        await using world = await createFenceWorld();
        world.run(['sh', '-c', `echo ${cookies} > /proc/sys/net/ipv4/tcp_syncookies`]);
        install(world);
        const agent = await world.client(AGENT_UID);
        await agent.ask('listen', pod, 9000);
        await world.heard();
        expect(await world.outside.ask('connect', pod, 9000, 0.5)).toBe('timeout');
        expect(await agent.ask('accept', briefly)).toBe('timeout');
        expect(traffic(await world.heard())).toEqual([]);
      },
    );

    test('an agent cannot send from a port that the proxy has just sent from', async () => {
      await using world = await createFenceWorld();
      install(world);
      await world.proxy();
      const [agent, proxy] = [await world.client(AGENT_UID), await world.client(PROXY_UID)];
      const from = { source: 40_001 };
      expect(await proxy.ask('datagram', far, 5555, from)).toBe('origin');
      expect(await agent.ask('datagram', far, 5555, { ...from, answered: false })).toBe('EPERM');
      expect(await proxy.ask('datagram', far, 53, from)).toBe('origin');
      expect(await agent.ask('datagram', far, 53, from)).toBe('resolver');
      expect(await proxy.ask('stream', far, 443, from)).toBe('origin');
      expect(await agent.ask('stream', far, 443, from)).toMatch(/^(transparent|EADDR)/);
    });

    test('an agent cannot leave a translation behind that diverts the proxy', async () => {
      await using world = await createFenceWorld();
      install(world);
      await world.proxy();
      const [agent, proxy] = [await world.client(AGENT_UID), await world.client(PROXY_UID)];
      const from = { source: 41_010 };
      expect(await agent.ask('leave_translations', far, [41_000, 41_020])).toBe('left');
      expect(await proxy.ask('datagram', far, 53, from)).toBe('origin');
      expect(await agent.ask('stream', far, 443, from)).toMatch(/^transparent/);
      expect(await proxy.ask('stream', far, 443, from)).toMatch(/^(origin|EADDR)/);
    });

    test('what an agent has not sent yet when it closes still arrives at the proxy', async () => {
      await using world = await createFenceWorld();
      install(world);
      const proxy = await world.proxy();
      const agent = await world.client(AGENT_UID);
      const sent = await agent.ask('bulk', far, 8443, 1_000_000);
      expect(sent).toBeGreaterThan(500_000);
      expect(await proxy.line()).toBe(String(sent));
    });

    test('nobody answers in the proxy’s place while it is gone', async () => {
      await using world = await createFenceWorld();
      install(world);
      const [agent, victim] = [await world.client(AGENT_UID), await world.client(VICTIM_UID)];
      for (const port of [3128, 15_001, 15_053])
        expect(await agent.ask('squat', loopback, port)).toBe('squatting');
      expect(await victim.ask('stream', loopback, 3128, briefly)).toBe('timeout');
      expect(await victim.ask('stream', far, 443, briefly)).toBe('timeout');
      expect(await victim.ask('stream', far, 53, briefly)).toBe('timeout');
      expect(await victim.ask('datagram', far, 53, briefly)).toBe('timeout');
    });
  });

  test('a pod that forwards does not forward', async () => {
    await using world = await createFenceWorld();
    install(world);
    world.run(['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
    world.outsideRun(['ip', 'route', 'add', '198.51.100.0/24', 'via', POD_4]);
    await world.heard();
    expect(await world.outside.ask('datagram', '198.51.100.1', 5555, 0.3)).toBe('timeout');
    expect(traffic(await world.heard())).toEqual([]);
  });

  test('a re-run changes nothing, ends nothing, and nothing slips through meanwhile', async () => {
    await using world = await createFenceWorld();
    install(world);
    const [agent, proxy] = [await world.client(AGENT_UID), await world.client(PROXY_UID)];
    const before = world.run(LIST).stdout;
    expect(await proxy.ask('open_stream', FAR_4, 443)).toBe('origin');
    await world.heard();
    const reader = watchTable(world);
    const burst = agent.ask('burst', FAR_4, [1000, 31_000]);
    for (let run = 0; run < 3; run++) install(world);
    expect(await burst).toEqual({ EPERM: 30_000 });
    while (reader.listings().length < 3) await reader.more();
    await reader.end();
    expect(new Set(reader.listings())).toEqual(new Set([before]));
    expect(traffic(await world.heard())).toEqual([]);
    await proxy.ask('say', 'still there');
    expect(await proxy.ask('state', briefly)).toBe('timeout');
    expect(await heardWord(world, 'still there')).toBe(true);
    expect(world.run(LIST).stdout).toBe(before);
  });
});

const LIST = ['nft', 'list', 'table', 'inet', 'castellan'];

interface TableReader {
  /** All that were seen whole. */
  listings(): readonly string[];
  /** Until something has been read since. */
  more(): Promise<unknown>;
  end(): Promise<unknown>;
}

/** Lists the table again and again. */
function watchTable(world: FenceWorld): TableReader {
  const child = world.spawn(['sh', '-c', `while :; do ${LIST.join(' ')} || echo none; echo --; done`]);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  return {
    listings: () => text.split('--\n').slice(0, -1),
    more: () => once(child.stdout, 'data'),
    end() {
      child.kill('SIGKILL');
      return once(child, 'close');
    },
  };
}
