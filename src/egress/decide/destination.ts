/** From an allowed name to the addresses that may be dialled: resolved once, all checked, and dialled exactly as checked. */
import { isIP } from 'node:net';
import { errnoOf } from '../../errors.ts';
import type { checkDestination } from '../../policy/destination.ts';
import { localPort } from '../../policy/local-names.ts';
import type { EgressLimits } from '../limits.ts';
import type { ApprovedAddress, Grant, Intent, Refusal } from '../stages.ts';
import type { Resolver } from './lookup.ts';

export interface DestinationOptions {
  readonly resolve: Resolver;
  readonly check: typeof checkDestination;
  readonly limits: EgressLimits;
}

export type Destination =
  | { readonly ok: true; readonly addresses: readonly ApprovedAddress[] }
  | { readonly ok: false; readonly refusal: Refusal };

/** The only maker of `ApprovedAddress`. */
export async function approveDestination(
  intent: Intent,
  grant: Grant,
  options: DestinationOptions,
): Promise<Destination> {
  const { host, port } = intent;
  if (localPort(host) !== undefined) return { ok: false, refusal: unanswered(host, port) };
  let found: readonly string[];
  try {
    found = isIP(host) === 0 ? await within(options.limits.resolveMs, options.resolve(host)) : [host];
  } catch (error) {
    return { ok: false, refusal: resolutionFailure(host, error) };
  }
  const checked = options.check(grant.verdict, host, port, found);
  if (!checked.ok) {
    const { rule } = grant.verdict;
    const verdict = {
      allow: false,
      reason: 'address_not_allowed',
      detail: checked.detail,
      nearest: rule,
    } as const;
    return { ok: false, refusal: { result: 'denied', verdict } };
  }
  const approve = (address: string) =>
    ({ address, port, family: isIP(address) }) as unknown as ApprovedAddress;
  return { ok: true, addresses: checked.addresses.map(approve) };
}

/** What castellan answers itself is nowhere else: such a name is not even looked up. */
function unanswered(host: string, port: number): Refusal {
  return {
    result: 'failed',
    status: 502,
    error: 'name_resolution_failed',
    detail: `castellan answers ${host} on port ${localPort(host)}, and nobody does on port ${port}`,
  };
}

class ResolutionTimeout extends Error {}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new ResolutionTimeout(`no answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function resolutionFailure(host: string, error: unknown): Refusal {
  const timedOut = error instanceof ResolutionTimeout;
  const why = errnoOf(error) ?? (error instanceof Error ? error.message : 'unknown failure');
  return {
    result: 'failed',
    status: timedOut ? 504 : 502,
    error: timedOut ? 'name_resolution_timeout' : 'name_resolution_failed',
    detail: `${host} could not be resolved: ${why}`,
  };
}
