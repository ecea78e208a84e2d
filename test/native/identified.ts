/** Clients whose connections are identified: what they say of themselves, and what is true of them. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Flow } from '../../src/egress/stages.ts';
import { statFields } from '../../src/kernel/processes.ts';
import type { Program } from './python.ts';

/** Connects, prints the listener's line, and keeps the connection until its standard input ends. */
export const CONNECT = `
import socket, sys
client = socket.create_connection((sys.argv[1], 443))
print(client.makefile().readline().strip(), flush=True)
sys.stdin.read()`;

/** The connection of a client that prints what the transparent listener says of it. */
export async function flowOf(program: Program): Promise<Flow> {
  const { address, port, remoteAddress, remotePort } = JSON.parse(await program.line());
  const family = address.includes(':') ? 6 : 4;
  return {
    family,
    localAddress: remoteAddress,
    localPort: remotePort,
    remoteAddress: address,
    remotePort: port,
  };
}

/** In hexadecimal, of a file. */
export function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** As /proc tells it. */
export function startTimeOf(pid: number | undefined): string {
  return statFields(readFileSync(`/proc/${pid}/stat`, 'latin1')).startTime;
}
