/**
 * Name servers and the resolver of the network role in one world of their own: run in namespaces (network, mount) by
 * test/flow/lookup.test.ts, which says what resolv.conf holds. Prints a line of JSON for each line of names it is given.
 * 127.0.0.11 takes queries and answers none; 127.0.0.12 answers.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { createSystemResolver } from '../../src/egress/decide/lookup.ts';
import { EGRESS_LIMITS } from '../../src/egress/limits.ts';
import {
  DNS_TYPE,
  type DnsAnswer,
  type DnsQuery,
  type DnsRecordData,
  frameDnsMessage,
  parseDnsRequest,
  RCODE,
  renderDnsResponse,
  splitDnsStream,
} from '../../src/protocol/dns-message.ts';

const MANY: readonly DnsRecordData[] = Array.from({ length: 100 }, (_, index) => ({
  type: 'A',
  value: `192.0.2.${index}`,
}));
const asked: string[] = [];

function recordsOf({ name, type }: DnsQuery): readonly DnsRecordData[] | undefined {
  if (name === 'both.test')
    return type === DNS_TYPE.A
      ? [{ type: 'A', value: '192.0.2.1' }]
      : [{ type: 'AAAA', value: '2001:db8::1' }];
  if (name === 'many.test') return type === DNS_TYPE.A ? MANY : [];
  return name.endsWith('.ok.test')
    ? type === DNS_TYPE.A
      ? [{ type: 'A', value: '192.0.2.9' }]
      : []
    : undefined;
}

/** alias.test → second.test → third.test, with the address of the last. */
function aliasAnswer(query: DnsQuery): Uint8Array {
  const name = (text: string) =>
    Buffer.concat([
      ...text.split('.').map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`)),
      Buffer.alloc(1),
    ]);
  const record = (owner: string, type: number, data: Buffer) => {
    const fixed = Buffer.from([0, type, 0, 1, 0, 0, 0, 1, 0, data.length]);
    return Buffer.concat([name(owner), fixed, data]);
  };
  const records = [
    record('alias.test', DNS_TYPE.CNAME, name('second.test')),
    record('second.test', DNS_TYPE.CNAME, name('third.test')),
  ];
  if (query.type === DNS_TYPE.A) records.push(record('third.test', DNS_TYPE.A, Buffer.from([192, 0, 2, 7])));
  const empty = Buffer.from(renderDnsResponse(query, { rcode: RCODE.NOERROR }, 'tcp'));
  const end = 12 + query.question.length;
  const response = Buffer.concat([empty.subarray(0, end), ...records, empty.subarray(end)]);
  response.writeUInt16BE(records.length, 6);
  return response;
}

/** Undefined for names below hang.test, whose own servers do not answer. */
function respond(message: Uint8Array, transport: 'udp' | 'tcp'): Uint8Array | undefined {
  const request = parseDnsRequest(message);
  if (request.state !== 'query') return undefined;
  const { query } = request;
  asked.push(`${transport} ${query.name} ${query.type}`);
  if (query.name.endsWith('.hang.test')) return undefined;
  if (query.name === 'alias.test') return aliasAnswer(query);
  const records = recordsOf(query);
  const answer: DnsAnswer =
    records === undefined ? { rcode: RCODE.NXDOMAIN } : { rcode: RCODE.NOERROR, records, ttlSeconds: 60 };
  return renderDnsResponse(query, answer, transport);
}

for (const address of ['127.0.0.11', '127.0.0.12']) {
  const udp = createSocket('udp4');
  udp.on('message', (message, { address: to, port }) => {
    const answer = address === '127.0.0.12' ? respond(message, 'udp') : undefined;
    if (answer !== undefined) udp.send(answer, port, to);
  });
  udp.bind(53, address);
  await once(udp, 'listening');
}
const tcp = createServer((socket) => {
  let pending: Uint8Array = new Uint8Array(0);
  socket
    .on('error', () => {})
    .on('data', (chunk: Buffer) => {
      const split = splitDnsStream(Buffer.concat([pending, chunk]));
      pending = split?.rest ?? pending;
      for (const message of split?.messages ?? []) {
        const answer = respond(message, 'tcp');
        if (answer !== undefined) socket.write(frameDnsMessage(answer));
      }
    });
});
tcp.listen(53, '127.0.0.12');
await once(tcp, 'listening');

const resolve = createSystemResolver(EGRESS_LIMITS);
console.log('ready');
for await (const line of createInterface(process.stdin)) {
  const began = performance.now();
  const found = await Promise.all(
    line.split(' ').map((host) => {
      // Started, and nobody waits for it.
      if (host.endsWith('.hang.test')) return void resolve(host).catch(() => {});
      return resolve(host).catch(({ code }: NodeJS.ErrnoException) => code);
    }),
  );
  console.log(JSON.stringify({ found, ms: performance.now() - began, asked: asked.splice(0) }));
}
process.exit();
