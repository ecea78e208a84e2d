/** From a granted connection to one that is open to its origin: resolved, checked, dialled, secured; or one that is open already. */
import { approveDestination, type DestinationOptions } from '../decide/destination.ts';
import type { Arrival, Grant, Reached } from '../stages.ts';
import { dial } from './dial.ts';
import { type SecureOptions, secureUpstream } from './secure.ts';

/** Never rejects. */
export function reach(
  arrival: Arrival,
  grant: Grant,
  options: DestinationOptions & SecureOptions,
): Promise<Reached> {
  const { intent, signal, origins } = arrival;
  const { host, port, http } = intent;
  const open = async (): Promise<Reached> => {
    const destination = await approveDestination(intent, grant, options);
    if (!destination.ok) return destination;
    const dialled = await dial(destination.addresses, { signal, limits: options.limits });
    return secureUpstream(dialled, arrival, options);
  };
  if (origins === undefined) return open();
  // What was dialled for one request is checked again for the next, whose rule may allow other addresses.
  const fits = (address: string): boolean => options.check(grant.verdict, host, port, [address]).ok;
  return origins.reach(`${http?.scheme}://${host}:${port}`, fits, open);
}
