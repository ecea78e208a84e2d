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

/** LANDLOCK_SCOPE_*: no abstract Unix sockets and no signals out of the sandbox. */
const SCOPES = [
  { bit: 0, since: 6 },
  { bit: 1, since: 6 },
];

/**
 * The ruleset for one sandbox: everything the ABI can restrict is restricted, and each rule gives back no more than its
 * access and kind of file allow. TCP is left to the sealed namespace, which has no way out to begin with.
 *
 * @param abi what the kernel reports, at least 1; newer than known is taken as the newest known.
 */
export function landlockSpec(abi: number, rules: readonly LandlockRule[]): LandlockSpec {
  if (!Number.isInteger(abi) || abi < 1) throw new RangeError(`Landlock ABI ${abi}`);
  const known = FILESYSTEM_RIGHTS.filter(({ since }) => since <= abi);
  return {
    handledFs: mask(known),
    handledNet: 0n,
    scoped: mask(SCOPES.filter(({ since }) => since <= abi)),
    rules: rules.map(({ descriptor, isDirectory, access }) => ({
      descriptor,
      access: mask(
        known.filter(
          (right) =>
            (isDirectory || right.on !== 'directory') && (access === 'write' || right.access === 'read'),
        ),
      ),
    })),
  };
}

function mask(bits: readonly { readonly bit: number }[]): bigint {
  return bits.reduce((sum, { bit }) => sum | (1n << BigInt(bit)), 0n);
}
