/** The ways in, opened together and closed together: proxy, redirected TCP, DNS. */
import type { AddressInfo, Socket } from 'node:net';
import type { Egress, EgressOptions } from '../egress.ts';
import { flowOf } from '../identify/flow.ts';
import type { CertificateAuthority } from '../intercept/authority.ts';
import type { EgressLimits } from '../limits.ts';
import { createSplicer } from '../relay/splice.ts';
import { serveDnsTcp, serveDnsUdp } from './dns.ts';
import { createDnsRecord } from './dns-record.ts';
import { createEntrance } from './entrance.ts';
import { createHttpPort } from './http.ts';
import { familyOf, type Listener, type Listeners } from './listeners.ts';
import { refuseSocket } from './refusal.ts';
import type { Carry } from './request.ts';
import { createSyntheticNames } from './synthetic-names.ts';
import { serveTransparent } from './transparent.ts';

type AdapterOptions = Required<Omit<EgressOptions, 'limits' | 'upstreamProxy'>> & {
  readonly limits: EgressLimits;
  readonly carry: Carry;
  readonly authority: CertificateAuthority | undefined;
};

const FULL = {
  error: 'too_many_connections',
  detail: 'the sandbox has as many connections open as it may have',
};

export interface EntranceFigures {
  readonly clients: number;
  readonly splicedTunnels: number;
}

/** Listens everywhere; what it opened is closed again when one listener fails. */
export async function openAdapters(
  options: AdapterOptions,
): Promise<Pick<Egress, 'addresses' | 'close'> & { readonly figures: () => EntranceFigures }> {
  const { listeners, limits, report, carry, signal, authority } = options;
  const names = createSyntheticNames({ capacity: limits.syntheticNames, graceMs: limits.syntheticGraceMs });
  const record = createDnsRecord(report, limits);
  const entrance = createEntrance(limits, report);
  const splicer = createSplicer(limits);
  const http = createHttpPort(carry, limits, report, authority, splicer);
  const ipv6 = listeners.transparent.some((listener) => familyOf(listener) === 6);
  const dns = { ...options, names, ipv6, record, congested: () => options.congestion() !== undefined };
  const udp: { close(): void }[] = [];
  const shut = (): void => {
    entrance.shut();
    http.close();
    for (const socket of udp.splice(0)) socket.close();
    record.flush();
  };
  const onAbort = (): void => {
    shut();
    void entrance.drain(0);
    splicer.close();
  };
  const openUdp = async (listener: Listener): Promise<AddressInfo> => {
    const { socket, address } = await serveDnsUdp(listener, dns);
    udp.push(socket);
    return address;
  };
  const refuseFull = (socket: Socket): void => refuseSocket(socket, limits.lingerMs, 503, FULL);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const addresses = {
      proxy: await each(listeners.proxy, (listener) =>
        entrance.open(
          listener,
          (client) => {
            const flow = flowOf(client.socket);
            if (flow === undefined) client.socket.destroy();
            else http.serve(client, flow);
          },
          refuseFull,
        ),
      ),
      transparent: await each(listeners.transparent, (listener) =>
        entrance.open(
          listener,
          (client) => void serveTransparent(client, { ...options, http, names, splicer }),
        ),
      ),
      dnsUdp: await each(listeners.dnsUdp, openUdp),
      dnsTcp: await each(listeners.dnsTcp, (listener) =>
        entrance.open(listener, (client) => serveDnsTcp(client, dns)),
      ),
    } satisfies Record<keyof Listeners, readonly AddressInfo[]>;
    return {
      addresses,
      figures: () => ({ clients: entrance.clients, splicedTunnels: splicer.tunnels }),
      async close() {
        signal.removeEventListener('abort', onAbort);
        shut();
        await entrance.drain(limits.drainMs);
        splicer.close();
      },
    };
  } catch (error) {
    onAbort();
    throw error;
  }
}

async function each<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await work(item));
  return results;
}
