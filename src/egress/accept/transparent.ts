/** Connections that ignore the proxy: redirected by the kernel, their destination learned from what they say themselves. */
import type { Socket } from 'node:net';
import type { SocketAddress } from '../../audit/event.ts';
import { posix } from '../../kernel/posix.ts';
import { descriptorOf } from '../../kernel/socket-handle.ts';
import { flowOf } from '../identify/flow.ts';
import type { CertificateAuthority } from '../intercept/authority.ts';
import { openInspected } from '../intercept/open.ts';
import type { EgressLimits } from '../limits.ts';
import type { Splicer } from '../relay/splice.ts';
import { relayTunnel } from '../relay/tunnel.ts';
import type { AdapterName, Arrival, Flow, Grant, Objection, Outcome } from '../stages.ts';
import type { Client } from './entrance.ts';
import type { HttpPort } from './http.ts';
import { type Opening, type ReadOpening, readOpening } from './opening.ts';
import { breakOff, linger, refuseTls } from './refusal.ts';
import type { Carry } from './request.ts';
import { isSynthetic, type SyntheticNames } from './synthetic-names.ts';
import { tunnelObjection } from './tunnel-name.ts';

/** Where a redirected socket was going. Throws the system's error for one that was not redirected. */
export type OriginalDestination = (socket: Socket) => SocketAddress;

export interface TransparentMeans {
  readonly carry: Carry;
  readonly http: HttpPort;
  readonly names: SyntheticNames;
  readonly originalDestination: OriginalDestination;
  readonly limits: EgressLimits;
  readonly authority: CertificateAuthority | undefined;
  readonly splicer: Splicer;
}

/** SO_ORIGINAL_DST of the accepted socket. */
export function kernelDestination(socket: Socket): SocketAddress {
  return posix().originalDestination(descriptorOf(socket), socket.localFamily === 'IPv6' ? 6 : 4);
}

/** Takes one redirected client to its end. Never rejects. */
export async function serveTransparent(client: Client, means: TransparentMeans): Promise<void> {
  const { socket } = client;
  const { names, limits } = means;
  const flow = flowOf(socket, dialledBy(socket, means.originalDestination));
  if (flow === undefined) return void socket.destroy();
  const name = names.nameOf(flow.remoteAddress);
  const held = names.hold(flow.remoteAddress);
  socket.once('close', () => held[Symbol.dispose]());
  const read = await readOpening(
    socket,
    limits,
    name === undefined ? limits.openingUnnamedMs : limits.openingNamedMs,
  );
  if (socket.destroyed) return;
  if (read.opening.kind === 'http') return handToHttp(client, flow, name, read.bytes, means);
  await means.carry(tunnelArrival(client, flow, name, read, means));
}

function dialledBy(socket: Socket, originalDestination: OriginalDestination): SocketAddress | undefined {
  try {
    return originalDestination(socket);
  } catch {
    return undefined;
  }
}

/** Every request is then parsed and judged by its own Host, which must be the name that was dialled. */
function handToHttp(
  client: Client,
  flow: Flow,
  name: string | undefined,
  bytes: Buffer,
  { http }: TransparentMeans,
): void {
  client.socket.unshift(bytes);
  http.serve(client, flow, { name, port: flow.remotePort });
}

function tunnelArrival(
  client: Client,
  flow: Flow,
  name: string | undefined,
  read: ReadOpening,
  means: TransparentMeans,
): Arrival {
  const { limits } = means;
  const { opening } = read;
  const { host, adapter, objection } = learn(opening, name, flow);
  return {
    intent: {
      connectionId: client.connectionId,
      adapter,
      host,
      port: flow.remotePort,
      flow,
      startedAt: Date.now(),
    },
    objection,
    signal: client.signal,
    refuse() {
      if (adapter === 'transparent-tls') refuseTls(client.socket, limits.lingerMs);
      else linger(client.socket, limits.lingerMs);
    },
    revoke: () => breakOff(client.socket),
    relay: (upstream, grant) =>
      opening.kind === 'silent'
        ? relaySilent(client, flow, host, upstream.socket, grant, means)
        : relayRead(client.socket, upstream.socket, host, read, grant, means),
    async open() {
      // Where requests are inspected the client has to speak first, however busy it is.
      const heard =
        opening.kind === 'silent' ? await readOpening(client.socket, limits, limits.handshakeMs) : read;
      return openInspected({ client, flow, host, port: flow.remotePort, adapter }, heard, means);
    },
  };
}

interface Learned {
  readonly host: string;
  readonly adapter: AdapterName;
  readonly objection: Objection | undefined;
}

/** The host a connection is for: the name it states, the name that was dialled, or the address, in this order; they must agree. */
export function learn(
  opening: Opening,
  name: string | undefined,
  { remoteAddress }: Pick<Flow, 'remoteAddress'>,
): Learned {
  const known = name ?? remoteAddress;
  const tls = opening.kind === 'tls' || opening.kind === 'invalid';
  const adapter = tls ? 'transparent-tls' : 'transparent-dns';
  const unknown = (detail: string): Learned => ({
    host: known,
    adapter,
    objection: { reason: 'destination_unknown', detail },
  });
  if (opening.kind === 'invalid') return unknown(opening.detail);
  if (opening.kind === 'tls' && opening.serverName !== undefined) {
    const objection = name === undefined ? undefined : tunnelObjection(name, READABLE)(opening);
    return { host: objection === undefined ? opening.serverName : known, adapter, objection };
  }
  if (name === undefined && isSynthetic(remoteAddress))
    return unknown(`no name has the address ${remoteAddress} any more`);
  return { host: known, adapter, objection: undefined };
}

/** Before the policy was asked only the name that can be read has been compared; what may be hidden is its affair. */
const READABLE = { protocol: '', allowsEncryptedHello: true } as const;

async function relayRead(
  client: Socket,
  upstream: Socket,
  host: string,
  read: ReadOpening,
  { verdict }: Grant,
  { limits, splicer }: TransparentMeans,
): Promise<Outcome> {
  const judgeHello = tunnelObjection(host, verdict);
  const objection = judgeHello(read.opening);
  const outcome: Outcome =
    objection === undefined
      ? await relayTunnel(client, upstream, {
          limits,
          splicer,
          opening: read,
          judge: () => 'pass',
          judgeHello,
        })
      : { result: 'denied', detail: objection.detail, bytesOut: 0, bytesIn: 0 };
  if (outcome.result !== 'denied') return outcome;
  upstream.destroy();
  refuseTls(client, limits.lingerMs);
  return outcome;
}

/** The server may be the one to speak first; a client that then turns out to speak HTTP is served as such after all. */
async function relaySilent(
  client: Client,
  flow: Flow,
  host: string,
  upstream: Socket,
  { verdict }: Grant,
  means: TransparentMeans,
): Promise<Outcome> {
  const { limits, splicer } = means;
  const judge = tunnelObjection(host, verdict);
  let request: Buffer | undefined;
  const outcome = await relayTunnel(client.socket, upstream, {
    limits,
    splicer,
    opening: undefined,
    judgeHello: judge,
    judge({ opening, bytes }, serverSpoke) {
      if (opening.kind !== 'http' || serverSpoke || verdict.protocol === 'tcp')
        return judge(opening) ?? 'pass';
      request = bytes;
      return 'taken';
    },
  });
  if (outcome.result === 'denied') refuseTls(client.socket, limits.lingerMs);
  if (request !== undefined) handToHttp(client, flow, means.names.nameOf(flow.remoteAddress), request, means);
  return outcome;
}
