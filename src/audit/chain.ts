/**
 * Tamper evidence: each record carries the SHA-256 of the record before it and of itself, so that changing, removing, adding
 * or reordering one shows. The last fingerprint, kept elsewhere, also shows a cut end and a log rewritten from the start.
 */
import { hash } from 'node:crypto';
import { canonicalJson } from './canonical.ts';
import type { OcsfEvent } from './ocsf/base.ts';

/** What the first record names as the one before it. */
export const GENESIS = '0'.repeat(64);

/** In `unmapped.attestation`: OCSF 1.8 has no place of its own for it. */
export interface Attestation {
  readonly chain_uid: string;
  /** Fingerprint of the record before. */
  readonly prev: string;
  /** SHA-256 over the canonical JSON of the record without this value. */
  readonly fingerprint: string;
}

export interface Chain {
  /** Fingerprint of the newest record. */
  readonly head: string;
  append(event: OcsfEvent): OcsfEvent;
}

export function createChain(uid: string): Chain {
  let head = GENESIS;
  return {
    get head() {
      return head;
    },
    append(event) {
      const link = { chain_uid: uid, prev: head };
      const unsigned = withAttestation(event, link);
      head = fingerprint(unsigned);
      return withAttestation(event, { ...link, fingerprint: head });
    },
  };
}

/** SHA-256 in hex over the canonical form. */
export function fingerprint(event: unknown): string {
  return hash('sha256', canonicalJson(event), 'hex');
}

function withAttestation(event: OcsfEvent, attestation: Partial<Attestation>): OcsfEvent {
  return { ...event, unmapped: { ...event.unmapped, attestation } };
}
