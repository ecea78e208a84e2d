import { isIP } from 'node:net';
import type { AllowVerdict } from '../../policy/verdict.ts';
import type { Objection } from '../stages.ts';
import type { Opening } from './opening.ts';

/**
 * What is wrong with a tunnel's first bytes, for a tunnel that was opened for `host`: TLS for another name would reach
 * what shares the origin's address. Raw endpoints (`protocol: tcp`) may start like TLS by chance. An encrypted ClientHello may
 * hold another name than the one that can be read; whoever has the keys of a front finds everything behind it. Decoys that
 * some browsers send look the same.
 */
export function tunnelObjection(
  host: string,
  { protocol, allowsEncryptedHello }: Pick<AllowVerdict, 'protocol' | 'allowsEncryptedHello'>,
): (opening: Opening) => Objection | undefined {
  return (opening) => {
    if (opening.kind === 'invalid')
      return protocol === 'tcp' ? undefined : { reason: 'name_mismatch', detail: opening.detail };
    // Server names are never addresses (RFC 6066 §3); an address the policy lists is what was asked for.
    if (opening.kind !== 'tls' || isIP(host) !== 0) return undefined;
    if (opening.mayHideName && !allowsEncryptedHello) return HIDDEN_NAME;
    if (opening.serverName === undefined || opening.serverName === host) return undefined;
    return {
      reason: 'name_mismatch',
      detail: `TLS asks for ${opening.serverName}, the connection is for ${host}`,
    };
  };
}

const HIDDEN_NAME: Objection = {
  reason: 'name_mismatch',
  detail:
    'TLS may ask for a hidden name (encrypted ClientHello): open it by an inspected protocol, or let it pass by allow_encrypted_client_hello',
};

/** TLS that is opened here hides nothing: what its requests are for is read. */
export const OPENED = { protocol: 'rest', allowsEncryptedHello: true } as const;
