/**
 * What castellan-launch is told, and its encoding. A `ConfinedSpec` can only be made by confine(): launch()
 * takes nothing else, so an unconfined start of untrusted code does not compile. Wire format: native/README.md.
 */

import { type Address, formatAddress } from '../policy/match/address.ts';
import type { SeccompGroup } from '../policy/seccomp.ts';

/** A cgroup to be a member of, by descriptors. */
export interface CgroupPlace {
  /** For who is born in it. */
  readonly directory: number;
  /** Its cgroup.procs, for who joins. */
  readonly procs: number;
}

/** Where a connection leads instead of a command. The launcher refuses any address but loopback. */
export type ConnectTarget =
  | { readonly kind: 'tcp'; readonly address: Address; readonly port: number }
  /** Absolute, and no longer than MAX_SOCKET_PATH bytes. */
  | { readonly kind: 'unix'; readonly path: string };

/** sun_path of unix(7), less its NUL. */
export const MAX_SOCKET_PATH = 107;

/** `127.0.0.1:80`, `[::1]:80`, or the path. */
export function showTarget(target: ConnectTarget): string {
  if (target.kind === 'unix') return target.path;
  const address = formatAddress(target.address);
  return `${target.address.family === 6 ? `[${address}]` : address}:${target.port}`;
}

export interface LaunchSpec {
  /** Empty exactly where there is a `target`. */
  readonly argv: readonly string[];
  /** KEY=VALUE; the child gets these and nothing else. */
  readonly environment: readonly string[];
  /** Entered as the final identity, never through a symbolic link. */
  readonly workingDirectory: string;
  /** What the command must be able to do there, besides entering it; the launch fails where it cannot. */
  readonly directoryAccess: readonly ('read' | 'write')[];
  /** Undefined leaves ids as they are (rootless: the caller's). */
  readonly credentials:
    | { readonly uid: number; readonly gid: number; readonly groups: readonly number[] }
    | undefined;
  /** setsid(2); a PTY's child is a session leader already. */
  readonly newSession: boolean;
  readonly resourceLimits: readonly ResourceLimit[];
  readonly umask: number;
  readonly cgroup: CgroupPlace | undefined;
  /** Descriptors of namespaces to enter, user namespace first. */
  readonly namespaces: { readonly user: number | undefined; readonly network: number | undefined };
  /** A mount namespace to enter instead of making a private one. With `prepare` the mounts are made in it, and nothing is executed. */
  readonly view: { readonly descriptor: number; readonly prepare: boolean } | undefined;
  /** Done in a private mount namespace; empty, and without a view, means none is made. */
  readonly mounts: readonly MountStep[];
  readonly landlock: LandlockSpec | undefined;
  readonly seccomp: 'agent' | 'network-role' | 'none';
  /** Groups of the profile that the policy leaves out; only with `agent`. */
  readonly seccompRelax: readonly SeccompGroup[];
  /** Descriptors that survive execve, at these numbers (3 and up, distinct). */
  readonly keep: readonly { readonly descriptor: number; readonly target: number }[];
  /** Every step is done for real, the command is looked for, and nothing is executed: exit status 0. */
  readonly checkOnly: boolean;
  /** Nothing is executed: the launcher connects, hands the connection over, and ends. */
  readonly target: ConnectTarget | undefined;
}

export type MountStep =
  /** Covers a directory with an empty read-only tmpfs, a file or socket with an empty file. */
  | { readonly kind: 'hide'; readonly path: string }
  /** Attaches a clone of the tree at `descriptor` (O_PATH) to `path`. */
  | { readonly kind: 'bind'; readonly descriptor: number; readonly path: string }
  /**
   * Covers the directory at `path`, which must be the one at `descriptor`, with itself, its owners' ids mapped by the user
   * namespace (see Posix.mapIds). Comes before what covers something below it.
   */
  | {
      readonly kind: 'id-map';
      readonly userNamespace: number;
      readonly descriptor: number;
      readonly path: string;
    };

export interface ResourceLimit {
  /** RLIMIT_* number, see getrlimit(2). */
  readonly resource: number;
  readonly soft: bigint;
  readonly hard: bigint;
}

export interface LandlockSpec {
  /** Masks of landlock_ruleset_attr, already cut to the kernel's ABI. */
  readonly handledFs: bigint;
  readonly handledNet: bigint;
  readonly scoped: bigint;
  /** O_PATH descriptors with the rights below each. */
  readonly rules: readonly { readonly descriptor: number; readonly access: bigint }[];
  /** TCP ports with the rights for each. */
  readonly ports: readonly { readonly port: number; readonly access: bigint }[];
  /** LANDLOCK_RESTRICT_SELF_*. */
  readonly restrictFlags: number;
}

declare const confined: unique symbol;
export type ConfinedSpec = LaunchSpec & { readonly [confined]: 'command' };
/** The same for what Launcher.connect() takes. */
export type ConfinedConnection = LaunchSpec & {
  readonly [confined]: 'connection';
  readonly target: ConnectTarget;
};

/** Ordered as the launcher does them; native/README.md and launch.c hold the same list. */
export const LAUNCH_STEPS = [
  'receive',
  'session',
  'cgroup',
  'namespaces',
  'mounts',
  'limits',
  'groups',
  'gid',
  'bounding',
  'uid',
  'regain',
  'capabilities',
  'privileges',
  'directory',
  'landlock',
  'descriptors',
  'seccomp',
  'connect',
  'execute',
] as const;
export type LaunchStep = (typeof LAUNCH_STEPS)[number];

/** What the launcher says when a step failed; absent after a successful execve. */
export interface LaunchFailure {
  readonly step: LaunchStep;
  /** Positive errno. */
  readonly errno: number;
  readonly object: string;
}
