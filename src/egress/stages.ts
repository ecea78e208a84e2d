/**
 * What one stage of a connection hands to the next. `ApprovedAddress` carries a brand that only the
 * destination check can make, so that dialling something unchecked does not compile.
 */
import type { Duplex } from 'node:stream';
import type { Verdict } from '../policy/verdict.ts';

/** How the destination was learned. */
export type AdapterName = 'connect' | 'forward' | 'transparent-tls' | 'transparent-http' | 'transparent-dns';

/**
 * The workload's TCP connection as its own socket sees it, because sock_diag(7) is asked about that socket. Local is the
 * workload's end; remote is the far end it dialled: the original destination of a redirected connection, the
 * proxy's own address (127.0.0.1:3128) of an explicit one. IPv4-mapped addresses are written as IPv4.
 */
export interface Flow {
  readonly family: 4 | 6;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

export interface Intent {
  /** One id from accept to close, in every event of the connection. */
  readonly connectionId: string;
  readonly adapter: AdapterName;
  /** Lower-case name without trailing dot, or canonical IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  readonly flow: Flow;
  readonly startedAt: number;
  /** HTTP facts where a request was parsed; the path has no query. */
  readonly http?: { readonly method: string; readonly path: string };
}

/** The process behind a connection, as the process role established it. */
export interface Identity {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/pid/stat: with the pid it names one process for ever. */
  readonly startTime: string;
  readonly uid: number;
  readonly executable: string;
  readonly sha256: string;
  /** Nearest parent first, ending below the supervisor. */
  readonly ancestors: readonly string[];
}

export type IdentityResult =
  | { readonly ok: true; readonly identity: Identity }
  | { readonly ok: false; readonly reason: string };

export interface Decision {
  readonly verdict: Verdict;
  readonly identity: IdentityResult;
}

declare const approved: unique symbol;

/** An address the destination check has passed for one decision; dial() takes nothing else. */
export interface ApprovedAddress {
  readonly [approved]: true;
  readonly address: string;
  readonly family: 4 | 6;
  readonly port: number;
}

export interface Outcome {
  readonly result: 'closed' | 'denied' | 'failed';
  readonly bytesOut: number;
  readonly bytesIn: number;
  readonly reason?: string;
}

/** A client whose destination is known and whose first bytes may already have been read. */
export interface AcceptedConnection {
  readonly intent: Intent;
  readonly client: Duplex;
}
