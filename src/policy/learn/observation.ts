import type { RequestNames } from '../request-names.ts';

/** What one record of a log says about the network, as far as a policy can be learned from it. */
export interface Observation {
  /**
   * `allowed` by the policy of the run; `audited`: no rule allows it, and it passed because its endpoint is in audit; `refused` for
   * want of a rule. What a deny rule or another check refused is none of these.
   */
  readonly outcome: 'allowed' | 'audited' | 'refused';
  /** The program, then its ancestors, nearest first. */
  readonly binaries: readonly [string, ...string[]];
  /** Lower-case name, or canonical IP literal. */
  readonly host: string;
  readonly port: number;
  /** That was dialled. */
  readonly address: string | undefined;
  /** Undefined for a connection that nobody looked into. */
  readonly request: ObservedRequest | undefined;
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** The record's uid. */
  readonly event: string;
}

export interface ObservedRequest {
  /** Upper case. */
  readonly method: string;
  readonly path: ObservedPath;
  readonly names: RequestNames;
}

export interface ObservedPath {
  /** As servers may read it; all of them have to be allowed. */
  readonly readings: readonly string[];
  /** Takes allow_encoded_slash. */
  readonly encodedSlash: boolean;
}
