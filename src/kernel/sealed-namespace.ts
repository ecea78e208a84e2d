/**
 * The sealed network namespace of one sandbox: made by castellan-netns, held by its descriptors. When the last
 * descriptor and the last process in it are gone, the kernel takes everything away by itself.
 */
import { existsSync, fstatSync } from 'node:fs';
import { linkBatch, PAIR_ADDRESS_4, PAIR_ADDRESS_6 } from './link-batch.ts';
import { askNetnsHelper, type NetnsRequest } from './netns-helper.ts';
import {
  DNS_PORT,
  entranceSockets,
  holdEntrance,
  type NetworkEntrance,
  NFLOG_GROUP,
  type PlannedSocket,
  TRANSPARENT_PORT,
} from './network-entrance.ts';
import { nftRuleset } from './nft-ruleset.ts';
import { posix } from './posix.ts';

export { DNS_PORT, NFLOG_GROUP, PROXY_PORT, TRANSPARENT_PORT } from './network-entrance.ts';

export interface SealedNamespaceOptions {
  /** Makes a user namespace too, for callers without CAP_SYS_ADMIN. */
  readonly userNamespace: boolean;
  /** Absolute paths: of castellan-netns, ip(8) and nft(8). */
  readonly helper: string;
  readonly ip: string;
  readonly nft: string;
  /** Of the inner pair; a name of its own lets a later start recognise the processes of a dead run. */
  readonly interfaceName?: string;
  /** Root may have the helper run as somebody else. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  readonly signal?: AbortSignal;
}

export interface SealedNamespace extends NetworkEntrance, Disposable {
  readonly networkDescriptor: number;
  /** Of a mount namespace that is a copy of this process's, for the view of the sandbox. */
  readonly mountDescriptor: number;
  /** Present exactly when a user namespace was asked for. */
  readonly userDescriptor: number | undefined;
}

/**
 * Makes the namespace, its links, ruleset and sockets.
 * @throws CastellanError `namespace_failed` with the helper's step (`namespace/links` and the like) and errno.
 */
export async function createSealedNamespace(options: SealedNamespaceOptions): Promise<SealedNamespace> {
  const { userNamespace } = options;
  const ipv6 = existsSync('/proc/net/if_inet6');
  const sockets = entranceSockets(ipv6, { watches: true });
  const flag = userNamespace ? ('--user-namespace' as const) : undefined;
  const count = 2 + (userNamespace ? 1 : 0) + sockets.length;
  const descriptors = await askNetnsHelper({ ...options, flag }, request(options, ipv6, sockets), count);
  const [networkDescriptor, mountDescriptor, ...rest] = descriptors as [number, number, ...number[]];
  const userDescriptor = userNamespace ? rest.shift() : undefined;
  const entrance = holdEntrance(rest, sockets, fstatSync(networkDescriptor, { bigint: true }).ino.toString());
  const namespaces = [
    networkDescriptor,
    mountDescriptor,
    ...(userDescriptor === undefined ? [] : [userDescriptor]),
  ];
  return {
    ...entrance,
    networkDescriptor,
    mountDescriptor,
    userDescriptor,
    [Symbol.dispose]() {
      entrance[Symbol.dispose]();
      for (const descriptor of namespaces.splice(0)) posix().close(descriptor);
    },
  };
}

function request(
  options: SealedNamespaceOptions,
  ipv6: boolean,
  sockets: readonly PlannedSocket[],
): NetnsRequest {
  return {
    links: linkBatch({ ipv6, interfaceName: options.interfaceName ?? 'castellan0' }),
    ruleset: nftRuleset({
      transparentPort: TRANSPARENT_PORT,
      dnsPort: DNS_PORT,
      nflogGroup: NFLOG_GROUP,
      ownAddress4: PAIR_ADDRESS_4,
      ownAddress6: PAIR_ADDRESS_6,
    }),
    sockets: sockets.map(({ line }) => line),
    ip: options.ip,
    nft: options.nft,
  };
}
