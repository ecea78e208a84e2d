/** Where a client of SSH may have a connection made to: the sandbox's own loopback and its Unix sockets. Pure. */
import { DNS_PORT, PROXY_PORT, TRANSPARENT_PORT } from '../kernel/network-entrance.ts';
import { type ConnectTarget, MAX_SOCKET_PATH } from '../launch/spec.ts';
import { type Address, contains, parseAddress, parseBlock } from '../policy/match/address.ts';

export type Destination =
  /** To be tried in this order. */
  | { readonly ok: true; readonly targets: readonly ConnectTarget[] }
  | { readonly ok: false; readonly reason: string };

const LOOPBACK = ['127.0.0.0/8', '::1'].flatMap((text) => parseBlock(text) ?? []);
/** As an image's /etc/hosts would have it, which the agent may have written. No other name is looked up. */
const LOCALHOST = ['::1', '127.0.0.1'].flatMap((text) => parseAddress(text) ?? []);
/**
 * Who connects to castellan's own ports has to be a program of the sandbox with rights of its own. Port 53 of any address leads
 * to the resolver.
 */
const OWN_PORTS: readonly number[] = [PROXY_PORT, TRANSPARENT_PORT, DNS_PORT, 53];
const MAX_PORT = 65_535;

/** Of `direct-tcpip`: an address in any spelling that the standards know, in brackets or not, or `localhost`. */
export function tcpDestination(host: string, port: number): Destination {
  const addresses = addressesOf(host);
  if (addresses === undefined)
    return refused('only localhost and loopback addresses are reached, and no name is looked up');
  if (!addresses.every(isLoopback))
    return refused('only loopback is reached: everything else goes out by the policy');
  if (!Number.isInteger(port) || port < 1 || port > MAX_PORT) return refused('there is no such port');
  if (OWN_PORTS.includes(port)) return refused('the port is castellan’s own');
  return { ok: true, targets: addresses.map((address) => ({ kind: 'tcp', address, port })) };
}

/** Of `direct-streamlocal@openssh.com`: a path, as the agent sees it. */
export function unixDestination(path: string): Destination {
  if (!path.startsWith('/')) return refused('only Unix sockets with an absolute path are reached');
  if (path.includes('\0') || Buffer.byteLength(path) > MAX_SOCKET_PATH)
    return refused('no socket has such a path');
  return { ok: true, targets: [{ kind: 'unix', path }] };
}

function addressesOf(host: string): readonly Address[] | undefined {
  if (host.toLowerCase() === 'localhost') return LOCALHOST;
  const address = parseAddress(/^\[([^\]]*:[^\]]*)\]$/.exec(host)?.[1] ?? host);
  return address === undefined ? undefined : [address];
}

function isLoopback(address: Address): boolean {
  return LOOPBACK.some((block) => contains(block, address));
}

function refused(reason: string): Destination {
  return { ok: false, reason };
}
