/**
 * The only makers of a ConfinedSpec, and so the only places that decide how far a process is trusted. Pure.
 */
import { CastellanError } from '../errors.ts';
import type { Cell } from './cell.ts';
import { childEnvironment } from './environment.ts';
import type {
  ConfinedConnection,
  ConfinedSpec,
  ConnectTarget,
  LandlockSpec,
  LaunchSpec,
  MountStep,
  ResourceLimit,
} from './spec.ts';

/** Files and directories of a sandbox are its owner's business; group and others read as on any login. */
const AGENT_UMASK = 0o022;
const ROLE_UMASK = 0o077;

const RLIMIT_CORE = 4;
/** A core would hold secrets: the agent's, in a directory or a handler that runs as root; the role's, of every connection. */
export const NO_CORE: ResourceLimit = { resource: RLIMIT_CORE, soft: 0n, hard: 0n };

export interface CellCommand {
  /** A path, or a name to be found in PATH by the confined process itself. */
  readonly argv: readonly string[];
  /** Beside what every process of the cell gets; checked by operatorEnvironment() or isRequestable(). */
  readonly environment?: Readonly<Record<string, string>>;
  /** TERM of a process that gets a terminal (which makes it a session leader already). */
  readonly terminal?: string | undefined;
  /** Instead of the cell's. */
  readonly workingDirectory?: string;
  /** Everything but the execve; the exit status tells. */
  readonly checkOnly?: boolean;
  /** What the command must be able to do in its directory. Reading is what shells and build tools start with. */
  readonly directoryAccess?: LaunchSpec['directoryAccess'];
}

/**
 * A command in the cell: the agent itself, or whatever a person starts beside it.
 * @throws CastellanError `usage` when there is no command, or a string in it cannot be passed to execve(2)
 */
export function confine(cell: Cell, command: CellCommand): ConfinedSpec {
  const { uid, gid, groups } = cell.identity;
  return seal({
    argv: command.argv,
    environment: childEnvironment({
      identity: cell.identity,
      shared: cell.environment,
      requested: command.environment ?? {},
      terminal: command.terminal,
    }),
    workingDirectory: command.workingDirectory ?? cell.workingDirectory,
    directoryAccess: command.directoryAccess ?? ['read'],
    cgroup: cell.cgroup,
    credentials: cell.changeCredentials ? { uid, gid, groups } : undefined,
    newSession: command.terminal === undefined,
    resourceLimits: cell.resourceLimits,
    umask: AGENT_UMASK,
    namespaces: cell.namespaces,
    view: cell.view === undefined ? undefined : { descriptor: cell.view, prepare: false },
    mounts: cell.mounts,
    landlock: cell.landlock,
    seccomp: 'agent',
    seccompRelax: cell.seccompRelax,
    keep: [],
    checkOnly: command.checkOnly ?? false,
    target: undefined,
  });
}

/** The cell's mounts, made in `view` for all launches to come. Nothing is executed. */
export function confineView(cell: Cell, view: number): ConfinedSpec {
  const spec = confine(cell, { argv: ['/'], checkOnly: true });
  return seal({ ...spec, view: { descriptor: view, prepare: true } });
}

/** A connection as a command in the cell could make it: it reaches what the agent reaches. */
export function confineConnection(cell: Cell, target: ConnectTarget): ConfinedConnection {
  const spec = confine(cell, { argv: ['/'], workingDirectory: '/', directoryAccess: [] });
  return { ...spec, argv: [], environment: [], target } as LaunchSpec as ConfinedConnection;
}

export interface RoleCommand {
  readonly argv: readonly string[];
  readonly environment: readonly string[];
  /** Undefined keeps the caller's ids (rootless). */
  readonly credentials: LaunchSpec['credentials'];
  readonly mounts: readonly MountStep[];
  readonly landlock: LandlockSpec | undefined;
  /** The wire and the sockets made in the sealed namespace. */
  readonly keep: LaunchSpec['keep'];
}

/**
 * Castellan's own network role. It parses what the network and the agent send, so it is confined like any other
 * process; it differs from an agent in two ways: it stays in the outer network namespace, where dialling happens, and its
 * seccomp profile leaves out what only agents need.
 */
export function confineRole(role: RoleCommand): ConfinedSpec {
  return seal({
    ...role,
    workingDirectory: '/',
    directoryAccess: [],
    cgroup: undefined,
    checkOnly: false,
    target: undefined,
    newSession: true,
    resourceLimits: [NO_CORE],
    umask: ROLE_UMASK,
    namespaces: { user: undefined, network: undefined },
    view: undefined,
    seccomp: 'network-role',
    seccompRelax: [],
  });
}

function seal(spec: LaunchSpec): ConfinedSpec {
  if (spec.argv[0] === undefined || spec.argv[0] === '')
    throw new CastellanError('usage', 'there is no command to run', { step: 'launch' });
  for (const text of [...spec.argv, ...spec.environment, spec.workingDirectory]) {
    if (text.includes('\0'))
      throw new CastellanError('usage', 'a command, its environment and its directory cannot contain NUL', {
        step: 'launch',
        object: text,
      });
  }
  return spec as ConfinedSpec;
}
