import type { CredentialUse, Endpoint, TlsAuthority } from './document.ts';
import type { RequestPolicy } from './judge.ts';

/** The answer of the one decision function, with everything a refusal has to tell. */

export interface Query {
  /** Lower-case name without trailing dot, or canonical IP literal. */
  readonly host: string;
  readonly port: number;
  /** Executable first, then its ancestors, nearest first; empty where identity is unknown. */
  readonly binaries: readonly string[];
  /** SHA-256 of each of them, in hexadecimal; what has none meets no pin. */
  readonly hashes?: readonly (string | undefined)[];
}

export const DENY_REASONS = [
  'no_policy', // network_policies is empty
  'host_not_listed', // no endpoint names the host on any port
  'port_not_listed', // the host is named, but not on this port
  'binary_not_listed', // host and port are named, but not for this binary
  'binary_hash_differs', // host, port and binary are named, but the rule pins another content of it
  'rule_expired', // a rule allowed it until some time ago
  'identity_unknown', // the calling process could not be established
  'address_not_allowed', // the destination check refused every resolved address or one of them
  'name_mismatch', // SNI or Host differs from the name the connection was opened for
  'destination_unknown', // transparent connection that names no host
  'request_not_listed', // the destination's requests are inspected, and no rule allows this one
  'request_refused', // a deny rule is about this request
  'request_unreadable', // an inspected request that cannot be read in one way only
  'credential_endpoint_mismatch', // a placeholder where its credential may not go
  'protocol_not_inspected', // something else than HTTP where requests are inspected
] as const;
export type DenyReason = (typeof DENY_REASONS)[number];

export type Verdict =
  | {
      readonly allow: true;
      readonly rule: string;
      /** The binary or ancestor that matched. */
      readonly matchedBinary: string;
      /** All addresses must lie inside these blocks; empty means public addresses only... */
      readonly allowedIps: readonly string[];
      /** ...or the very one the policy names: whether it names this host without a wildcard, which counts for IP literals. */
      readonly exactHost: boolean;
      readonly protocol: Endpoint['protocol'];
      /** Set where each request has to be judged too. */
      readonly requests: RequestPolicy | undefined;
      /** Whom an origin whose TLS is opened has to be certified by; undefined: the authorities of the system. */
      readonly tlsAuthority?: TlsAuthority | undefined;
      /** TLS that is not opened may hide the name it asks for. */
      readonly allowsEncryptedHello?: boolean;
      /** Of the connection's endpoints; a request that is judged has those of its route. */
      readonly credentials?: CredentialUse | undefined;
      /** TLS stays closed, whatever a credential says. */
      readonly skipsTls?: boolean | undefined;
    }
  | {
      readonly allow: false;
      readonly reason: DenyReason;
      /** One sentence for a person. */
      readonly detail: string;
      /** The rule that came nearest, if any. */
      readonly nearest: string | undefined;
    };

export type AllowVerdict = Extract<Verdict, { readonly allow: true }>;
export type DenyVerdict = Extract<Verdict, { readonly allow: false }>;
