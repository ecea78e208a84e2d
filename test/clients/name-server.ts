/** The world's name server: this suite's agents find no name in /etc/hosts, as on a machine. */
import { createSocket, type Socket } from 'node:dgram';
import { ORIGIN_ADDRESS } from '../fakes/world.ts';
import { HOSTS } from './places.ts';

const HEADER_BYTES = 12;
const TYPE_A = 1;
const NXDOMAIN = 3;

/** Answers A for the hosts of the suite with the origin's address (RFC 1035 §4.1). */
export function nameServer(): Socket {
  const socket = createSocket('udp4');
  socket.on('message', (query, { address, port }) => socket.send(answerTo(query), port, address));
  return socket;
}

function answerTo(query: Buffer): Buffer {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const known = HOSTS.some((host) => host === labels.join('.').toLowerCase());
  const hasAddress = known && query.readUInt16BE(at + 1) === TYPE_A;
  const header = Buffer.from(query.subarray(0, HEADER_BYTES));
  // A response, recursion available; one question, and no more records of the client's.
  header.writeUInt16BE(0x8180 | (known ? 0 : NXDOMAIN), 2);
  header.writeUInt16BE(hasAddress ? 1 : 0, 6);
  header.writeUInt32BE(0, 8);
  const question = query.subarray(HEADER_BYTES, at + 5);
  if (!hasAddress) return Buffer.concat([header, question]);
  // The name of the question, type A, class IN, one minute, four bytes.
  const record = Buffer.from([0xc0, HEADER_BYTES, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4]);
  return Buffer.concat([header, question, record, Buffer.from(ORIGIN_ADDRESS.split('.').map(Number))]);
}
