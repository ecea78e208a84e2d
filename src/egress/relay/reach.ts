/** From a granted connection to one that is open to its origin: resolved, checked, dialled, secured; or one that is open already. */
import { approveDestination, type DestinationOptions } from '../decide/destination.ts';
import type { Arrival, Grant, Reached } from '../stages.ts';
import { type DialOptions, dial } from './dial.ts';
import { type SecureOptions, secureUpstream } from './secure.ts';

export type ReachOptions = DestinationOptions & SecureOptions & Omit<DialOptions, 'host'>;

/** Never rejects. */
export function reach(
  arrival: Pick<Arrival, 'intent' | 'origins'>,
  grant: Grant,
  options: ReachOptions,
): Promise<Reached> {
  const { intent, origins } = arrival;
  const { host, port, http } = intent;
  const open = async (): Promise<Reached> => {
    const destination = await approveDestination(intent, grant, options);
    if (!destination.ok) return destination;
    const dialled = await dial(destination.addresses, { ...options, host });
    return secureUpstream(dialled, arrival, grant, options);
  };
  if (origins === undefined) return open();
  // What was dialled for one request is checked again for the next, whose rule may allow other addresses.
  const fits = (address: string): boolean => options.check(grant.verdict, host, port, [address]).ok;
  const { clientCertificate = '' } = options;
  // Nor is a connection shared by those who verify it differently; and what was proved on it is proved for every request on it.
  const place = `${http?.scheme}://${host}:${port} ${grant.verdict.tlsAuthority?.digest ?? ''} ${clientCertificate}`;
  return origins.reach(place, fits, open);
}
