import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { type EgressWorld, rawClient, rule, startWorld } from './egress-world.ts';

function resolver(world: EgressWorld): Resolver {
  const made = new Resolver({ tries: 1, timeout: 5000 });
  made.setServers([`127.0.0.1:${world.egress.addresses.dnsUdp[0]?.port}`]);
  return made;
}

const rules = [rule('allowed.test', [443]), rule('**.wild.test', [443])];

test('a name that some rule may allow has a synthetic address, always the same', async () => {
  await using world = await startWorld(rules);
  const dns = resolver(world);
  const [first, again, other] = await Promise.all(
    ['allowed.test', 'ALLOWED.test', 'a.b.wild.test'].map((name) => dns.resolve4(name, { ttl: true })),
  );
  expect(first?.[0]).toMatchObject({ address: expect.stringMatching(/^198\.18\./), ttl: 10 });
  expect(again).toEqual(first);
  expect(other?.[0]?.address).not.toBe(first?.[0]?.address);
  expect(await world.fact('dns-answered')).toMatchObject({
    type: 'A',
    address: first?.[0]?.address,
    source: { address: '127.0.0.1' },
  });
});

test.each([
  ['AAAA of an allowed name has no data', 'allowed.test', 'AAAA', 'ENODATA'],
  ['MX of an allowed name has no data', 'allowed.test', 'MX', 'ENODATA'],
  ['another name is refused', 'forbidden.test', 'A', 'EREFUSED'],
  ['so is data in a name', 'c2VjcmV0.exfiltration.test', 'TXT', 'EREFUSED'],
  ['the apex of a wildcard is refused', 'wild.test', 'A', 'EREFUSED'],
])('%s', async (_name, name, type, code) => {
  await using world = await startWorld(rules);
  await expect(resolver(world).resolve(name, type)).rejects.toMatchObject({ code });
});

test('PTR is refused and recorded', async () => {
  await using world = await startWorld(rules);
  await expect(resolver(world).reverse('198.18.0.1')).rejects.toThrow();
  expect(await world.fact('dns-refused')).toMatchObject({ name: '1.0.18.198.in-addr.arpa', rcode: 5 });
});

test('localhost is itself', async () => {
  await using world = await startWorld([]);
  expect(await resolver(world).resolve4('localhost')).toEqual(['127.0.0.1']);
});

const QUERY = Buffer.from('000101000001000000000000', 'hex');
const question = Buffer.concat([
  Buffer.from('\x07allowed\x04test\0', 'latin1'),
  Buffer.from('00010001', 'hex'),
]);

test('TCP answers several queries in one connection, and ends one that is no DNS', async () => {
  await using world = await startWorld(rules);
  const port = world.egress.addresses.dnsTcp[0]?.port ?? 0;
  const message = Buffer.concat([QUERY, question]);
  const framed = Buffer.concat([Buffer.from([0, message.length]), message]);
  const client = rawClient(port, Buffer.concat([framed, framed]));
  const text = await client.until(/^[\s\S]{96}$/);
  expect(text.slice(0, 48)).toBe(text.slice(48));
  expect(text.slice(-4, -2)).toBe('\xc6\x12');
  client.socket.write(Buffer.from([0xff, 0xff, 0]));
  await client.end();
});

test('garbage over UDP is survived', async () => {
  await using world = await startWorld(rules);
  const port = world.egress.addresses.dnsUdp[0]?.port ?? 0;
  const socket = createSocket('udp4');
  for (const garbage of [
    Buffer.alloc(0),
    Buffer.alloc(11),
    Buffer.alloc(1500, 0xff),
    Buffer.concat([QUERY, Buffer.alloc(300, 63)]),
  ])
    socket.send(garbage, port, '127.0.0.1');
  socket.send(Buffer.concat([QUERY, question]), port, '127.0.0.1');
  const answers: Buffer[] = [];
  while (!answers.some((answer) => answer.length > 40)) answers.push((await once(socket, 'message'))[0]);
  socket.close();
  expect(answers.at(-1)?.subarray(-4, -2)).toEqual(Buffer.from([198, 18]));
});
