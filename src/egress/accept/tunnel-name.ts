import { isIP } from 'node:net';
import type { AllowVerdict } from '../../policy/verdict.ts';
import type { Objection } from '../stages.ts';
import type { Opening } from './opening.ts';

/**
 * What is wrong with a tunnel's first bytes, for a tunnel that was opened for `host`: TLS for another name would reach
 * what shares the origin's address. Raw endpoints (`protocol: tcp`) may start like TLS by chance.
 */
export function tunnelObjection(
  host: string,
  protocol: AllowVerdict['protocol'],
): (opening: Opening) => Objection | undefined {
  return (opening) => {
    if (opening.kind === 'invalid')
      return protocol === 'tcp' ? undefined : { reason: 'name_mismatch', detail: opening.detail };
    if (opening.kind !== 'tls' || opening.serverName === undefined || opening.serverName === host)
      return undefined;
    // Server names are never addresses (RFC 6066 §3); an address the policy lists is what was asked for.
    if (isIP(host) !== 0) return undefined;
    return {
      reason: 'name_mismatch',
      detail: `TLS asks for ${opening.serverName}, the connection is for ${host}`,
    };
  };
}
