import { roleLost } from '../roles/channel.ts';
import type { ListenerDescriptors, SecretDescriptors } from '../roles/message.ts';

/** What the network role is handed: numbered as in the process at hand or, on the wire, by places in the row it came in. */
export interface RoleDescriptors {
  readonly listeners: ListenerDescriptors;
  readonly secrets: SecretDescriptors;
}

/** The row in which descriptors are handed over, and where in it each of them is. */
export function layOutDescriptors(descriptors: RoleDescriptors): {
  readonly row: readonly number[];
  readonly places: RoleDescriptors;
} {
  const row: number[] = [];
  const places = renumber(descriptors, (descriptor) => row.push(descriptor) - 1);
  return { row, places };
}

/** How many descriptors a row with these places has. */
export function rowLength(places: RoleDescriptors): number {
  return layOutDescriptors(places).row.length;
}

/**
 * The receiver's end of layOutDescriptors().
 * @throws CastellanError `role_lost` for a place that is not in the row, or is told twice
 */
export function takeUpDescriptors(places: RoleDescriptors, row: readonly number[]): RoleDescriptors {
  const left = new Map(row.entries());
  return renumber(places, (place) => {
    const descriptor = left.get(place);
    left.delete(place);
    if (descriptor === undefined) throw roleLost(`no descriptor was handed over for place ${place}`);
    return descriptor;
  });
}

function renumber(
  { listeners, secrets }: RoleDescriptors,
  number: (descriptor: number) => number,
): RoleDescriptors {
  const each = (descriptors: readonly number[]) => descriptors.map((descriptor) => number(descriptor));
  return {
    listeners: {
      proxy: each(listeners.proxy),
      transparent: each(listeners.transparent),
      dnsUdp: each(listeners.dnsUdp),
      dnsTcp: each(listeners.dnsTcp),
      ...(listeners.nflog !== undefined && { nflog: number(listeners.nflog) }),
    },
    secrets: Object.fromEntries(
      Object.entries(secrets).map(([name, descriptor]) => [name, number(descriptor)]),
    ),
  };
}
