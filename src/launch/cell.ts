import type { SeccompGroup } from '../policy/seccomp.ts';
import type { CgroupPlace, LandlockSpec, MountStep, ResourceLimit } from './spec.ts';

/** Whom sessions and the main process run as. */
export interface SandboxIdentity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** Login name, or the decimal uid where no account has it. */
  readonly user: string;
  /** Of the account until the policy's paths are there, then HOME (start/home.ts). */
  readonly home: string;
  readonly shell: string;
  /** Where the answer came from, for the record. */
  readonly source: string;
}

/**
 * Everything the start flow prepared once and every launch then shares: the confinement of one sandbox.
 * Descriptors stay open in the process role for the life of the sandbox.
 */
export interface Cell {
  readonly identity: SandboxIdentity;
  /** Rootless runs keep the caller's ids: there is nothing to change to. */
  readonly changeCredentials: boolean;
  readonly workingDirectory: string;
  /** Where the sandbox has one of its own. */
  readonly cgroup: CgroupPlace | undefined;
  readonly namespaces: { readonly user: number | undefined; readonly network: number | undefined };
  /** A mount namespace in which the mounts have been made; undefined where each launch makes its own. */
  readonly view: number | undefined;
  readonly mounts: readonly MountStep[];
  readonly landlock: LandlockSpec | undefined;
  readonly seccompRelax: readonly SeccompGroup[];
  readonly resourceLimits: readonly ResourceLimit[];
  /** Proxy, trust store and the like: the same for every process of the sandbox. */
  readonly environment: Readonly<Record<string, string>>;
}
