/**
 * From an ABI version and a list of opened paths to what Landlock is told. Numbers and the ABI that brought each:
 * include/uapi/linux/landlock.h and Documentation/userspace-api/landlock.rst, "Previous limitations".
 */
import type { LandlockSpec } from './spec.ts';

export interface LandlockRule {
  /** O_PATH descriptor. */
  readonly descriptor: number;
  readonly isDirectory: boolean;
  readonly access: 'read' | 'write';
}

/** TCP ports that may be used; an absent list leaves that use alone. */
export interface LandlockPorts {
  readonly bind?: readonly number[] | undefined;
  readonly connect?: readonly number[] | undefined;
}

interface Right {
  readonly name: string;
  readonly bit: number;
  /** The first ABI that knows it: an older kernel refuses a ruleset that names it. */
  readonly since: number;
  /** What may carry it; the kernel refuses a rule that gives a file a directory's right. */
  readonly on: 'directory' | 'both';
  readonly access: 'read' | 'write';
}

export const FILESYSTEM_RIGHTS: readonly Right[] = [
  { name: 'EXECUTE', bit: 0, since: 1, on: 'both', access: 'read' },
  { name: 'WRITE_FILE', bit: 1, since: 1, on: 'both', access: 'write' },
  { name: 'READ_FILE', bit: 2, since: 1, on: 'both', access: 'read' },
  { name: 'READ_DIR', bit: 3, since: 1, on: 'directory', access: 'read' },
  { name: 'REMOVE_DIR', bit: 4, since: 1, on: 'directory', access: 'write' },
  { name: 'REMOVE_FILE', bit: 5, since: 1, on: 'directory', access: 'write' },
  { name: 'MAKE_CHAR', bit: 6, since: 1, on: 'directory', access: 'write' },
  { name: 'MAKE_DIR', bit: 7, since: 1, on: 'directory', access: 'write' },
  { name: 'MAKE_REG', bit: 8, since: 1, on: 'directory', access: 'write' },
  { name: 'MAKE_SOCK', bit: 9, since: 1, on: 'directory', access: 'write' },
  { name: 'MAKE_FIFO', bit: 10, since: 1, on: 'directory', access: 'write' },
  { name: 'MAKE_BLOCK', bit: 11, since: 1, on: 'directory', access: 'write' },
  { name: 'MAKE_SYM', bit: 12, since: 1, on: 'directory', access: 'write' },
  { name: 'REFER', bit: 13, since: 2, on: 'directory', access: 'write' },
  { name: 'TRUNCATE', bit: 14, since: 3, on: 'both', access: 'write' },
  // Terminals and GPUs need their ioctls; a device that is only read (urandom) does not.
  { name: 'IOCTL_DEV', bit: 15, since: 5, on: 'both', access: 'write' },
];

/** LANDLOCK_ACCESS_NET_*. */
export const NETWORK_RIGHTS = {
  bind: { name: 'BIND_TCP', bit: 0, since: 4 },
  connect: { name: 'CONNECT_TCP', bit: 1, since: 4 },
} as const;

/** LANDLOCK_SCOPE_*: no abstract Unix sockets and no signals out of the sandbox. */
export const SCOPES = [
  { name: 'ABSTRACT_UNIX_SOCKET', bit: 0, since: 6 },
  { name: 'SIGNAL', bit: 1, since: 6 },
] as const;

/**
 * LANDLOCK_RESTRICT_SELF_*: the kernel's audit log tells of what the command and its children are refused (by default it
 * falls silent at an execve), and not of the launcher, nor of sandboxes that the command makes for its own children.
 */
export const RESTRICT_FLAGS = [
  { name: 'LOG_SAME_EXEC_OFF', bit: 0, since: 7 },
  { name: 'LOG_NEW_EXEC_ON', bit: 1, since: 7 },
  { name: 'LOG_SUBDOMAINS_OFF', bit: 2, since: 7 },
] as const;

/** What a kernel older than the newest known ABI leaves open, in words. */
const GAPS: readonly { readonly before: number; readonly gap: string }[] = [
  { before: 2, gap: 'files cannot be moved between directories' },
  { before: 3, gap: 'files that are only readable may be truncated' },
  { before: 4, gap: 'TCP ports are not restricted' },
  { before: 5, gap: 'ioctls of devices are not restricted' },
  { before: 6, gap: 'abstract Unix sockets and signals of the same uid are not restricted' },
];

export function landlockGaps(abi: number): string[] {
  return GAPS.filter(({ before }) => abi < before).map(({ gap }) => gap);
}

/**
 * The ruleset for one sandbox: everything the ABI can restrict is restricted, and each rule gives back no more than its
 * access and kind of file allow. TCP is restricted only where ports are listed: the sealed namespace has no way out to
 * begin with.
 *
 * @param abi what the kernel reports, at least 1; newer than known is taken as the newest known.
 */
export function landlockSpec(
  abi: number,
  rules: readonly LandlockRule[],
  ports: LandlockPorts = {},
): LandlockSpec {
  if (!Number.isInteger(abi) || abi < 1) throw new RangeError(`Landlock ABI ${abi}`);
  const known = <T extends { readonly since: number }>(rights: readonly T[]) =>
    rights.filter(({ since }) => since <= abi);
  const filesystem = known(FILESYSTEM_RIGHTS);
  const uses = (['bind', 'connect'] as const).filter((use) => ports[use] !== undefined);
  const network = known(uses.map((use) => NETWORK_RIGHTS[use]));
  return {
    handledFs: mask(filesystem),
    handledNet: mask(network),
    scoped: mask(known(SCOPES)),
    rules: rules.map(({ descriptor, isDirectory, access }) => ({
      descriptor,
      access: mask(
        filesystem.filter(
          (right) =>
            (isDirectory || right.on !== 'directory') && (access === 'write' || right.access === 'read'),
        ),
      ),
    })),
    ports:
      network.length === 0
        ? []
        : uses.flatMap((use) =>
            (ports[use] ?? []).map((port) => ({ port, access: mask([NETWORK_RIGHTS[use]]) })),
          ),
    restrictFlags: Number(mask(known(RESTRICT_FLAGS))),
  };
}

function mask(bits: readonly { readonly bit: number }[]): bigint {
  return bits.reduce((sum, { bit }) => sum | (1n << BigInt(bit)), 0n);
}
