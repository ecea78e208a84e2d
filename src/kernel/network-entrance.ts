import type { ListenerDescriptors } from '../roles/message.ts';
import { posix } from './posix.ts';

/** Where the agent's proxy variables point. */
export const PROXY_PORT = 3128;
/** Where the ruleset sends TCP that ignores the proxy. */
export const TRANSPARENT_PORT = 15001;
/** Where the ruleset sends DNS. */
export const DNS_PORT = 15053;
export const NFLOG_GROUP = 5;

/** Where the network role meets a sandbox: sockets born in its network namespace, and what tells who is behind a connection. */
export interface NetworkEntrance {
  readonly listeners: ListenerDescriptors;
  /** A NETLINK_SOCK_DIAG socket born inside. */
  readonly diag: number;
  /** Inode of the network namespace, as /proc/pid/ns/net shows it. */
  readonly inode: string;
  /** Closes this process's listeners and NFLOG socket, once the network role has its own. */
  closeListeners(): void;
}

/** A socket of an entrance, as castellan-netns is asked for it. */
export interface PlannedSocket {
  readonly use: 'proxy' | 'transparent' | 'dnsUdp' | 'dnsTcp' | 'nflog' | 'diag' | 'guard';
  readonly line: string;
}

/**
 * The sockets of an entrance on loopback.
 * @param ipv6 whether loopback has an address of it
 * @param watches whether refused packets can be read, which takes CAP_NET_ADMIN in the namespace
 */
export function entranceSockets(ipv6: boolean, { watches }: { readonly watches: boolean }): PlannedSocket[] {
  const families: readonly (readonly [4 | 6, string])[] = [
    [4, '127.0.0.1'],
    ...(ipv6 ? ([[6, '::1']] as const) : []),
  ];
  const loopback = (use: PlannedSocket['use'], protocol: 'tcp' | 'udp', port: number): PlannedSocket[] =>
    families.map(([family, address]) => ({ use, line: `${protocol}${family} ${address} ${port}` }));
  return [
    ...loopback('proxy', 'tcp', PROXY_PORT),
    ...loopback('transparent', 'tcp', TRANSPARENT_PORT),
    ...loopback('dnsUdp', 'udp', DNS_PORT),
    ...loopback('dnsTcp', 'tcp', DNS_PORT),
    ...(watches ? [{ use: 'nflog', line: `nflog ${NFLOG_GROUP}` } as const] : []),
    { use: 'diag', line: 'diag' },
    // libuv marks every UDP socket it is given as shareable (uv_udp_open). These, which it never sees, overlap with the
    // resolver's and so keep the agent from binding its address.
    { use: 'guard', line: `udp4 0.0.0.0 ${DNS_PORT}` },
    ...(ipv6 ? [{ use: 'guard', line: `udp6 :: ${DNS_PORT}` } as const] : []),
  ];
}

/** Owns `descriptors`, which are those of the plan, in its order. */
export function holdEntrance(
  descriptors: readonly number[],
  plan: readonly PlannedSocket[],
  inode: string,
): NetworkEntrance & Disposable {
  const of = (use: PlannedSocket['use']): number[] =>
    descriptors.filter((_, index) => plan[index]?.use === use);
  const open = new Set(descriptors);
  const close = (which: Iterable<number>): void => {
    for (const descriptor of which) if (open.delete(descriptor)) posix().close(descriptor);
  };
  const [nflog] = of('nflog');
  const listeners = {
    proxy: of('proxy'),
    transparent: of('transparent'),
    dnsUdp: of('dnsUdp'),
    dnsTcp: of('dnsTcp'),
    ...(nflog !== undefined && { nflog }),
  };
  return {
    listeners,
    diag: of('diag')[0] ?? -1,
    inode,
    closeListeners: () => close(Object.values(listeners).flat()),
    [Symbol.dispose]: () => close(descriptors),
  };
}
