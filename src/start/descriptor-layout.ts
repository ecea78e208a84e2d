import type { LaunchSpec } from '../launch/spec.ts';
import type { ListenerDescriptors, SecretDescriptors } from '../roles/message.ts';

/** What the network role is started with, numbered as in this process or as in the role. */
export interface RoleDescriptors {
  readonly listeners: ListenerDescriptors;
  readonly secrets: SecretDescriptors;
}

/**
 * Where the descriptors will be in the network role: in one row from `first` on. Gives the numbers there, for the
 * start message, and what the launcher has to put where.
 */
export function layOutDescriptors(
  { listeners, secrets }: RoleDescriptors,
  first: number,
): RoleDescriptors & { readonly keep: LaunchSpec['keep'] } {
  const keep: { descriptor: number; target: number }[] = [];
  const place = (descriptor: number) => {
    const target = first + keep.length;
    keep.push({ descriptor, target });
    return target;
  };
  return {
    listeners: {
      proxy: listeners.proxy.map(place),
      transparent: listeners.transparent.map(place),
      dnsUdp: listeners.dnsUdp.map(place),
      dnsTcp: listeners.dnsTcp.map(place),
      nflog: place(listeners.nflog),
    },
    secrets: Object.fromEntries(
      Object.entries(secrets).map(([name, descriptor]) => [name, place(descriptor)]),
    ),
    keep,
  };
}
