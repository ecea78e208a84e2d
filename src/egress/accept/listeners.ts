import { isIP } from 'node:net';
import type { ListenerDescriptors } from '../../roles/message.ts';

/** A socket that is already bound, or an address to bind. */
export type Listener =
  | { readonly fd: number; readonly family: 4 | 6 }
  | { readonly host: string; readonly port: number };

export interface Listeners {
  readonly proxy: readonly Listener[];
  readonly transparent: readonly Listener[];
  readonly dnsUdp: readonly Listener[];
  readonly dnsTcp: readonly Listener[];
}

/** The sockets made in the sealed namespace, of each kind one for IPv4 and then one for IPv6. Whoever listens owns them. */
export function listenersOf(descriptors: ListenerDescriptors): Listeners {
  const wrap = (numbers: readonly number[]): Listener[] =>
    numbers.map((fd, index) => ({ fd, family: index === 0 ? 4 : 6 }));
  return {
    proxy: wrap(descriptors.proxy),
    transparent: wrap(descriptors.transparent),
    dnsUdp: wrap(descriptors.dnsUdp),
    dnsTcp: wrap(descriptors.dnsTcp),
  };
}

/** The address family of a listener. */
export function familyOf(listener: Listener): 4 | 6 {
  if ('family' in listener) return listener.family;
  return isIP(listener.host) === 6 ? 6 : 4;
}
