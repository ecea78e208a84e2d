/**
 * Every way castellan refuses, in one table: the code is stable and documented, the exit number is what
 * the shell sees, the remedy is what a person can do about it.
 *
 * Exit numbers 100-120 are castellan's own, 124 is what timeout(1) gives, 126 and 127 follow the shell's convention for the command, and
 * everything else is the command's own status (128+n when a signal ended it).
 */
export const ERROR_CODES = {
  usage: { exit: 100, remedy: 'see castellan --help' },
  policy_unreadable: { exit: 101, remedy: 'check that the policy file exists and is readable' },
  policy_invalid: { exit: 102, remedy: 'correct the policy at the line and column given' },
  identity_invalid: {
    exit: 103,
    remedy: 'set process.run_as_user and run_as_group to an existing name or a number from 1 to 4294967294',
  },
  filesystem_refused: {
    exit: 104,
    remedy: 'correct the path in filesystem_policy, or what is on disk there',
  },
  namespace_failed: { exit: 105, remedy: 'run castellan doctor to see what this machine allows' },
  kernel_feature_missing: {
    exit: 106,
    remedy: 'use a kernel with the feature, or set landlock.compatibility to best_effort',
  },
  launch_failed: { exit: 107, remedy: 'the step and errno name what the kernel refused' },
  role_lost: { exit: 108, remedy: 'see the last audit events for the reason' },
  address_in_use: { exit: 109, remedy: 'stop the other user of the address, or choose another' },
  audit_failed: { exit: 110, remedy: 'make the audit file writable, or give another with --audit-file' },
  no_sandbox: { exit: 111, remedy: 'start one with castellan run, or name one with --sandbox' },
  privilege_missing: { exit: 112, remedy: 'run as root, or enable unprivileged user namespaces' },
  install_incomplete: { exit: 113, remedy: 'run npm run setup' },
  timeout: { exit: 114, remedy: 'the machine may be overloaded; try again' },
  credentials_invalid: {
    exit: 115,
    remedy: 'correct the file of credentials at the line and column given',
  },
  manifest_invalid: {
    exit: 118,
    remedy: 'correct the request or the pod as the message says',
  },
  internal: { exit: 120, remedy: 'this is a bug in castellan; please report it with the message' },
  command_timed_out: { exit: 124, remedy: 'give the command more time with --timeout, or none' },
  command_not_executable: {
    exit: 126,
    remedy: 'check the mode of the file and the policy paths that cover it',
  },
  command_not_found: { exit: 127, remedy: 'check the name, PATH and the policy paths that cover it' },
} as const satisfies Record<string, { exit: number; remedy: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorFacts {
  /** The stage or launcher step that failed, e.g. `filesystem` or `launch/landlock`. */
  readonly step: string;
  /** What it failed on: a path, a name, a flag. */
  readonly object?: string;
  /** Symbolic errno, e.g. `EACCES`, when the kernel refused. */
  readonly errno?: string;
  /** Overrides the table's remedy where a more exact one is known. */
  readonly remedy?: string;
  readonly cause?: unknown;
}

/** The only error type that leaves a module on purpose. Anything else that reaches main is `internal`. */
export class CastellanError extends Error {
  readonly code: ErrorCode;
  readonly step: string;
  readonly object: string | undefined;
  readonly errno: string | undefined;
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = 'CastellanError';
    this.code = code;
    this.step = facts.step;
    this.object = facts.object;
    this.errno = facts.errno;
    this.remedy = facts.remedy ?? ERROR_CODES[code].remedy;
  }

  get exitCode(): number {
    return ERROR_CODES[this.code].exit;
  }
}

/** The symbolic errno of a Node system error, e.g. `ENOENT`; undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' && /^E[A-Z0-9]+$/.test(error.code) ? error.code : undefined;
}
