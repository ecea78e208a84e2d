/**
 * Stands in for the network role: serves the namespace's listeners, inherited from descriptor 3 on in the order of the
 * arguments (`proxy`, `transparent4`, `transparent6`, `dnsTcp`, `dnsUdp4`, `dnsUdp6`), and says on each connection what it learned.
 */
import { createSocket } from 'node:dgram';
import { createServer, type Socket } from 'node:net';
import { posix } from '../../src/kernel/posix.ts';

function originalDestination(socket: Socket, family: 4 | 6): unknown {
  const { _handle } = socket as unknown as { _handle: { fd: number } };
  const { address, port } = posix().originalDestination(_handle.fd, family);
  return { address, port, remoteAddress: socket.remoteAddress, remotePort: socket.remotePort };
}

const uses = process.argv.slice(2);
let waiting = uses.length;
const ready = (): void => {
  waiting -= 1;
  if (waiting === 0) process.stdout.write('ready\n');
};

for (const [index, use] of uses.entries()) {
  const family = use.endsWith('6') ? 6 : 4;
  if (use.startsWith('dnsUdp')) {
    const socket = createSocket(`udp${family}`);
    socket.on('message', (message, from) => socket.send(`answer to ${message}`, from.port, from.address));
    socket.bind({ fd: 3 + index }, ready);
  } else {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      const said = use.startsWith('transparent') ? originalDestination(socket, family) : { use };
      // Ends after the client does, so that it can be looked at while it waits.
      socket.write(`${JSON.stringify(said)}\n`);
      socket.resume().on('end', () => socket.end());
    });
    server.listen({ fd: 3 + index }, ready);
  }
}
