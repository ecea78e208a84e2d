/** What the fence of a shared network namespace costs: once, and for each connection. */
import { createFenceWorld, FAR_4, FAR_6, type FenceWorld, PROXY_UID } from '../fakes/fence-world.ts';
import { CASTELLAN } from '../fakes/world.ts';
import { type Contender, compare, printTable } from './harness.ts';

const AGENT_UID = 20_101;
const CONNECTIONS = 500;

/** `bundled` is the castellan of a bundle. */
export async function benchFence(rounds: number, bundled: string): Promise<void> {
  await using open = await createFenceWorld();
  await using fenced = await createFenceWorld();
  const verb = (name: string, argv: readonly string[]): Contender => ({
    name,
    async once() {
      const { code, stderr } = fenced.run(argv);
      if (code !== 0) throw new Error(`${name}: ${stderr}`);
    },
  });
  console.log('\nnetwork-init, installed and proved');
  printTable(
    await compare(
      [
        verb('castellan --version, bundle (baseline)', [bundled, '--version']),
        verb('castellan network-init, bundle', [bundled, 'network-init']),
        verb('castellan network-init, source', [CASTELLAN, 'network-init']),
      ],
      rounds,
    ),
  );
  await fenced.proxy();
  await open.proxy();
  for (const [family, far, loopback] of [
    ['IPv4', FAR_4, '127.0.0.1'],
    ['IPv6', FAR_6, '::1'],
  ] as const) {
    console.log(`\n${CONNECTIONS} connections to the outside, each answered, ${family}`);
    const outside = [
      await connecting('no fence (baseline)', open, PROXY_UID, far, 443),
      await connecting('fence, the proxy', fenced, PROXY_UID, far, 443),
    ];
    printTable(await compare(outside, rounds));
    console.log(`\n${CONNECTIONS} connections of an agent, each answered, ${family}`);
    const inside = [
      await connecting('no fence, to the proxy (baseline)', open, AGENT_UID, loopback, 3128),
      await connecting('fence, to the proxy', fenced, AGENT_UID, loopback, 3128),
      await connecting('fence, diverted to it', fenced, AGENT_UID, far, 443),
    ];
    printTable(await compare(inside, rounds));
  }
}

async function connecting(
  name: string,
  world: FenceWorld,
  uid: number,
  address: string,
  port: number,
): Promise<Contender> {
  const client = await world.client(uid);
  return {
    name,
    async once() {
      const ending = await client.ask('connections', address, port, CONNECTIONS);
      if (ending !== 'done') throw new Error(`${name}: ${ending}`);
    },
  };
}
