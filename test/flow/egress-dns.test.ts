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
  ['a synthetic address that nobody has', '198.18.0.1', 'PTR', 'ENOTFOUND'],
  ['an address of another network', '192.0.2.1', 'PTR', 'EREFUSED'],
  ['another name is refused', 'forbidden.test', 'A', 'EREFUSED'],
  ['so is data in a name', 'c2VjcmV0.exfiltration.test', 'TXT', 'EREFUSED'],
  ['the apex of a wildcard is refused', 'wild.test', 'A', 'EREFUSED'],
])('%s', async (_name, name, type, code) => {
  await using world = await startWorld(rules);
  const asked = type === 'PTR' ? reverseName(name) : name;
  await expect(resolver(world).resolve(asked, type)).rejects.toMatchObject({ code });
});

test('a refusal is recorded', async () => {
  await using world = await startWorld(rules);
  await expect(resolver(world).reverse('198.18.0.1')).rejects.toThrow();
  expect(await world.fact('dns-refused')).toMatchObject({ name: '1.0.18.198.in-addr.arpa', rcode: 3 });
});

function reverseName(address: string): string {
  return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
}

const loopback6 = { host: '::1', port: 0 };
const loopback4 = { host: '127.0.0.1', port: 0 };
const bothFamilies = {
  listeners: {
    proxy: [],
    transparent: [loopback4, loopback6],
    dnsUdp: [loopback4, loopback6],
    dnsTcp: [loopback4, loopback6],
  },
};

test('where there is IPv6 a name has an address of it too, and both lead back to the name', async () => {
  await using world = await startWorld(rules, bothFamilies);
  const dns = resolver(world);
  dns.setServers([`[::1]:${world.egress.addresses.dnsUdp[1]?.port}`]);
  const [[ipv4 = ''], [ipv6 = '']] = await Promise.all([
    dns.resolve4('allowed.test'),
    dns.resolve6('allowed.test'),
  ]);
  expect([ipv4, ipv6]).toEqual(['198.18.0.1', '100::1']);
  expect(await dns.resolve6('Allowed.TEST')).toEqual([ipv6]);
  expect(await Promise.all([ipv4, ipv6].map((address) => dns.reverse(address)))).toEqual([
    ['allowed.test'],
    ['allowed.test'],
  ]);
  expect(world.facts.filter(({ kind }) => kind === 'dns-answered')).toMatchObject([
    { type: 'A', address: ipv4 },
    { type: 'AAAA', address: ipv6 },
    { type: 'PTR', address: undefined },
    { type: 'PTR', address: undefined },
  ]);
});

/** Of one query by UDP: the answer as it came. */
async function exchange(world: EgressWorld, message: Buffer): Promise<Buffer> {
  const socket = createSocket('udp4');
  socket.send(message, world.egress.addresses.dnsUdp[0]?.port ?? 0, '127.0.0.1');
  const [received] = (await once(socket, 'message')) as [Buffer];
  socket.close();
  return received;
}

test.each([
  ['HTTPS, so that browsers go on with an address', 65, 0],
  ['SVCB', 64, 0],
  ['ANY: a part of what there is (RFC 8482)', 255, 2],
])('%s', async (_name, type, answers) => {
  await using world = await startWorld(rules, bothFamilies);
  const asked = Buffer.concat([QUERY, question.subarray(0, -4), Buffer.from([0, type, 0, 1])]);
  const received = await exchange(world, asked);
  expect([received.readUInt16BE(2) & 15, received.readUInt16BE(6)]).toEqual([0, answers]);
});

test('the question comes back in the case it was asked in (0x20)', async () => {
  await using world = await startWorld(rules);
  const mixed = Buffer.from(question.toString('latin1').replace('allowed', 'aLLoWeD'), 'latin1');
  const received = await exchange(world, Buffer.concat([QUERY, mixed]));
  expect(received.subarray(12, 12 + mixed.length)).toEqual(mixed);
  expect(received.readUInt16BE(6)).toBe(1);
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
