import type { SeccompGroup } from './seccomp.ts';

/** The policy document after parsing: every default applied, every string checked, nothing optional left vague. */

export interface PolicyDocument {
  readonly version: 1;
  readonly filesystem: FilesystemPolicy;
  readonly landlock: LandlockPolicy;
  readonly process: ProcessPolicy;
  readonly seccomp: SeccompPolicy;
  readonly network: readonly NetworkRule[];
  /** Things worth telling the operator that do not stop the load. */
  readonly notices: readonly PolicyNotice[];
  /** `sha256:<hex>` of the source text. */
  readonly digest: string;
}

export interface LandlockPolicy {
  readonly compatibility: 'best_effort' | 'hard_requirement';
  /** TCP ports that may be bound and connected to; undefined leaves them to the sealed namespace. */
  readonly bindPorts: readonly number[] | undefined;
  readonly connectPorts: readonly number[] | undefined;
}

export interface SeccompPolicy {
  readonly relax: readonly SeccompGroup[];
}

export interface FilesystemPolicy {
  readonly includeWorkdir: boolean;
  readonly readOnly: readonly string[];
  readonly readWrite: readonly string[];
}

export interface ProcessPolicy {
  /** A name or a decimal id as written; undefined where the policy leaves it to the platform. */
  readonly runAsUser: string | undefined;
  readonly runAsGroup: string | undefined;
}

export interface NetworkRule {
  /** The key under network_policies. */
  readonly name: string;
  readonly endpoints: readonly Endpoint[];
  readonly binaries: readonly BinaryPattern[];
  readonly position: SourcePosition;
}

export interface Endpoint {
  /** Lower case exact name, IP literal or host glob; empty only together with allowedIps. */
  readonly host: string;
  readonly ports: readonly number[];
  /** '' is TCP with HTTP and TLS recognised; 'tcp' is raw. */
  readonly protocol: '' | 'tcp';
  /** CIDR blocks in canonical form. */
  readonly allowedIps: readonly string[];
  readonly position: SourcePosition;
}

export interface BinaryPattern {
  /** Absolute path, or glob where it contains `*`. */
  readonly path: string;
}

export interface SourcePosition {
  /** 1-based. */
  readonly line: number;
  readonly column: number;
}

export interface PolicyNotice {
  readonly message: string;
  readonly position: SourcePosition | undefined;
}
