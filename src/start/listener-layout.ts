import type { LaunchSpec } from '../launch/spec.ts';
import type { ListenerDescriptors } from '../roles/message.ts';

/**
 * Where the listeners will be in the network role: in one row from `first` on. Gives the numbers there, for the
 * start message, and what the launcher has to put where.
 */
export function layOutListeners(
  here: ListenerDescriptors,
  first: number,
): { readonly listeners: ListenerDescriptors; readonly keep: LaunchSpec['keep'] } {
  const keep: { descriptor: number; target: number }[] = [];
  const place = (descriptor: number) => {
    const target = first + keep.length;
    keep.push({ descriptor, target });
    return target;
  };
  const listeners = {
    proxy: here.proxy.map(place),
    transparent: here.transparent.map(place),
    dnsUdp: here.dnsUdp.map(place),
    dnsTcp: here.dnsTcp.map(place),
    nflog: place(here.nflog),
  };
  return { listeners, keep };
}
