/** Listeners in the place of the proxy's, for the time of the fence's proof, and clients that tell whom they reached. */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { CastellanError, errnoOf } from '../errors.ts';
import { posix } from './posix.ts';
import { DNS_PORT, TRANSPARENT_PORT } from './sealed-namespace.ts';
import { descriptorOf } from './socket-handle.ts';

/** What a client of the stand met: a listener of it by the words it says, or a symbolic errno. */
export type Ending = string;

export interface Stand extends AsyncDisposable {
  /** Connects to a listener that is opened at the port for it: ends with `inbound` where it arrives. */
  visit(port: number): Promise<Ending>;
  /** Ends with `transparent ADDRESS PORT`, the original destination, or `resolver`, where it arrives. */
  connect(address: string, port: number): Promise<Ending>;
  /** Sends a datagram to a port and waits for the answer: `resolver`. */
  query(address: string, port: number): Promise<Ending>;
}

/** All of it happens within this kernel; containers for initialisation may have a hundredth of a CPU. */
const ATTEMPT_DEADLINE_MS = 5000;
const TOKEN_BYTES = 16;
/** Longer is what somebody else says. */
const MAX_GREETING = 256;

/**
 * Opens the ports of the proxy, which must be free, as must be what is visited.
 * @throws CastellanError `address_in_use`, `namespace_failed`
 */
export async function openStand(family: 4 | 6, loopback: string): Promise<Stand> {
  // Nobody else can say it.
  const token = randomBytes(TOKEN_BYTES).toString('hex');
  const greeting = (words: string): string => `${token} ${words}`;
  await using undo = new AsyncDisposableStack();
  undo.use(await listen(loopback, TRANSPARENT_PORT, (client) => greeting(transparentWords(client, family))));
  undo.use(await listen(loopback, DNS_PORT, () => greeting('resolver')));
  const type = family === 6 ? 'udp6' : 'udp4';
  const resolver = createSocket({ type, ipv6Only: family === 6 });
  undo.defer(() => void resolver.close());
  // An answer that cannot be sent is one that does not come.
  resolver.on('message', (_, from) => resolver.send(greeting('resolver'), from.port, from.address, () => {}));
  await bind(resolver, loopback);
  const kept = undo.move();
  const endingOf = async (words: Promise<string>): Promise<Ending> => {
    try {
      const said = await words;
      return said.startsWith(token) ? said.slice(token.length + 1) : 'somebody else';
    } catch (error) {
      return error instanceof Error && error.name === 'AbortError'
        ? 'ETIMEDOUT'
        : (errnoOf(error) ?? String(error));
    }
  };
  return {
    async visit(port) {
      await using _ = await listen(loopback, port, () => greeting('inbound'));
      return await endingOf(talk(loopback, port));
    },
    connect: (address, port) => endingOf(talk(address, port)),
    query: (address, port) => endingOf(ask(type, address, port)),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Where nothing was diverted, there may be no original destination. */
function transparentWords(client: Socket, family: 4 | 6): string {
  try {
    const { address, port } = posix().originalDestination(descriptorOf(client), family);
    return `transparent ${address} ${port}`;
  } catch (error) {
    return `transparent without destination (${errnoOf(error)})`;
  }
}

async function listen(
  host: string,
  port: number,
  greet: (client: Socket) => string,
): Promise<AsyncDisposable> {
  // A client that has gone needs no greeting.
  const server = createServer((client) => void client.on('error', () => undefined).end(greet(client)));
  server.listen({ host, port });
  await once(server, 'listening').catch((error: unknown) => refuse(error, `${host} TCP ${port}`));
  return server;
}

async function bind(socket: DatagramSocket, address: string): Promise<void> {
  socket.bind({ address, port: DNS_PORT });
  await once(socket, 'listening').catch((error: unknown) => refuse(error, `${address} UDP ${DNS_PORT}`));
}

function refuse(error: unknown, object: string): never {
  const errno = errnoOf(error);
  const code = errno === 'EADDRINUSE' ? 'address_in_use' : 'namespace_failed';
  const message = `the fence is there, but could not be proved: ${object} cannot be opened (${errno})`;
  throw new CastellanError(code, message, {
    step: 'fence/proof',
    object,
    ...(errno && { errno }),
    remedy: 'run network-init before anything else of the pod, in a namespace whose loopback is up',
  });
}

async function talk(host: string, port: number): Promise<string> {
  const client = connect({ host, port, signal: AbortSignal.timeout(ATTEMPT_DEADLINE_MS) });
  let said = '';
  for await (const text of client.setEncoding('utf8')) {
    said += text;
    if (said.length > MAX_GREETING) break;
  }
  return said;
}

async function ask(type: 'udp4' | 'udp6', address: string, port: number): Promise<string> {
  const signal = AbortSignal.timeout(ATTEMPT_DEADLINE_MS);
  const client = createSocket(type);
  try {
    client.connect(port, address);
    await once(client, 'connect', { signal });
    client.send('?', (error) => error && client.emit('error', error));
    const [answer] = await once(client, 'message', { signal });
    return String(answer);
  } finally {
    client.close();
  }
}
