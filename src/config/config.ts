import { randomBytes } from 'node:crypto';
import { isAbsolute, join, resolve } from 'node:path';
import { MAX_ID } from '../lib/id.ts';
import { type DriverIdentity, readDriverIdentity } from './driver-identity.ts';
import { type Limits, readLimits } from './limits.ts';
import { mainProcessSpec } from './main-process-spec.ts';
import { type Place, readPlace } from './place.ts';
import { checkSidecarUids, NO_COMMAND, type PodConfig, readPod, refuseForeign } from './pod.ts';
import { SECRET_FILE_NAMES, SECRET_FILE_OPTIONS, type SecretFileName } from './secret-files.ts';
import { readSshAddress, type SshAddress } from './ssh-socket.ts';
import type { Surroundings } from './surroundings.ts';
import { readUpstreamProxy, type UpstreamProxy } from './upstream-proxy.ts';
import { readInteger, readWord, usage } from './values.ts';
import { readVariable, refuseUnknownVariables } from './variables.ts';

/** The words of the command line after the verb. */
export interface VerbArguments {
  /** Switches are present with an empty string; repeatable options keep their order. */
  readonly options: ReadonlyMap<string, readonly string[]>;
  readonly operands: readonly string[];
}

/**
 * `root` and `rootless` hold both roles. `process-only` holds the process role alone, as the sandbox's own user, in a container
 * whose network somebody else fences. `sidecar` holds the network role alone, in the container of a pod beside such a one.
 */
export type RunMode = 'root' | 'rootless' | 'process-only' | 'sidecar';

/** Everything a run depends on, read once and frozen. */
export interface RunConfig {
  readonly mode: RunMode;
  /** How the two containers of a pod are one sandbox; undefined where one container is all. */
  readonly pod: PodConfig | undefined;
  readonly name: string;
  /** Undefined: the sandbox user's login shell. */
  readonly command: readonly [string, ...string[]] | undefined;
  /** Castellan holds the command's streams, so that people can attach; undefined leaves it with castellan's own. */
  readonly retain: { readonly terminal: boolean } | undefined;
  /** After which the command is ended; undefined lets it run. */
  readonly timeLimitMs: number | undefined;
  /** Undefined: no policy was named and none is installed. */
  readonly policyPath: string | undefined;
  readonly workingDirectory: string;
  /** Variables the operator gave to the command with --env. */
  readonly environment: Readonly<Record<string, string>>;
  /** The same with --shared-env, for sessions too. */
  readonly sharedEnvironment: Readonly<Record<string, string>>;
  readonly auditPath: string;
  /** Where this user's audit files go by default. */
  readonly logDirectory: string;
  readonly runBase: string;
  readonly networkRoleUid: number;
  /** Whom the platform wants the sandbox to run as. */
  readonly driverIdentity: DriverIdentity | undefined;
  readonly limits: Limits;
  readonly graceMs: number;
  readonly ownership: OwnershipMethod | undefined;
  /** Undefined: the policy stays as it was at the start. */
  readonly reload: ReloadConfig | undefined;
  /** Where probes are answered besides the socket in the run directory. */
  readonly healthListener: Place | undefined;
  /** The same for metrics. */
  readonly metricsListener: Place | undefined;
  /** Where SSH is answered besides the socket in the run directory. */
  readonly sshAddress: SshAddress | undefined;
  /** Paths of files that only the network role reads. */
  readonly secretFiles: Readonly<Partial<Record<SecretFileName, string>>>;
  /** Undefined: origins are dialled from this machine. */
  readonly upstreamProxy: UpstreamProxy | undefined;
  /** Whether programs of the sandbox may ask for rules. */
  readonly takesProposals: boolean;
  readonly quiet: boolean;
}

/** How the working directory becomes the agent's; `undefined` leaves it to where the identity came from. */
export const OWNERSHIP_METHODS = ['auto', 'chown', 'idmap', 'none'] as const;
export type OwnershipMethod = (typeof OWNERSHIP_METHODS)[number];

/** When the policy file is read again, and what an invalid one does. */
export interface ReloadConfig {
  /** `signal`: at SIGHUP; `watch`: also when the file changes. */
  readonly when: (typeof RELOAD_TIMES)[number];
  /** `keep`: the last valid policy stays in force; `deny`: nothing may be reached until there is a valid one. */
  readonly invalid: (typeof INVALID_POLICY_EFFECTS)[number];
}

const RELOAD_TIMES = ['signal', 'watch'] as const;
const INVALID_POLICY_EFFECTS = ['keep', 'deny'] as const;

export const INSTALLED_POLICY = '/etc/castellan/policy.yaml';

/** As the peer's proxy uid: nothing on common distributions has it. */
export const DEFAULT_NETWORK_ROLE_UID = 1337;

const DEFAULT_GRACE_S = 10;
/** A supervisor that waits longer than an hour for a stop is a hang to whoever asked for the stop. */
const MAX_GRACE_S = 3600;
/** setTimeout() takes 31 bits of milliseconds; three weeks are below. */
const MAX_TIME_LIMIT_S = 21 * 24 * 3600;

/**
 * @throws CastellanError `usage` for a value that is not what the option takes.
 */
export function readRunConfig(
  command: VerbArguments,
  surroundings: Surroundings,
  installedPolicy: boolean,
  now: Date,
): RunConfig {
  refuseUnknownVariables(surroundings.environment, 'CASTELLAN_');
  const option = (name: string) => command.options.get(name)?.[0];
  const name = option('name') ?? `run-${randomBytes(4).toString('hex')}`;
  if (!isSandboxName(name))
    throw usage(`--name ${name}: use up to 31 of a-z, 0-9 and -, starting with a letter or digit`);
  const absolute = (path: string) => resolve(surroundings.workingDirectory, path);
  const policy = option('policy');
  const mode = readMode(option('roles'), surroundings.uid);
  refuseForeign(command, mode);
  // The sidecar has the policy.
  const isInstalled = installedPolicy && !(mode === 'process-only' && command.options.has('control-socket'));
  const audit = option('audit-file');
  const ssh = option('ssh-socket');
  const pod = readPod(command.options, mode, absolute);
  // A sidecar that is not root is the network role's uid itself.
  const ownUid = mode === 'sidecar' && surroundings.uid !== 0 ? surroundings.uid : DEFAULT_NETWORK_ROLE_UID;
  const networkRoleUid = readInteger('proxy-uid', option('proxy-uid'), ownUid, 1, MAX_ID);
  if (mode === 'sidecar') checkSidecarUids(networkRoleUid, surroundings.uid, pod?.sandboxUid);
  const stamp = now.toISOString().replaceAll(/[-:]|\.\d+/g, '');
  return Object.freeze({
    mode,
    pod,
    name,
    ...(mode === 'sidecar' ? NO_COMMAND : readMain(command, surroundings)),
    timeLimitMs: readInteger('timeout', option('timeout'), 0, 0, MAX_TIME_LIMIT_S) * 1000 || undefined,
    policyPath: policy === undefined ? (isInstalled ? INSTALLED_POLICY : undefined) : absolute(policy),
    workingDirectory: absolute(option('workdir') ?? '.'),
    environment: readEnvironment('env', command, surroundings),
    sharedEnvironment: readEnvironment('shared-env', command, surroundings),
    auditPath:
      audit === undefined ? join(logDirectory(surroundings), `${name}-${stamp}.jsonl`) : absolute(audit),
    logDirectory: logDirectory(surroundings),
    runBase: runBase(surroundings),
    networkRoleUid,
    driverIdentity: readDriverIdentity(surroundings.environment),
    limits: readLimits(command.options.get('limit') ?? []),
    graceMs: readInteger('grace', option('grace'), DEFAULT_GRACE_S, 0, MAX_GRACE_S) * 1000,
    ownership: readOwnership(option('ownership')),
    reload: readReload(option('reload'), option('on-invalid-policy')),
    healthListener: readPlace('health-listen', command, absolute),
    metricsListener: readPlace('metrics-listen', command, absolute),
    sshAddress: ssh === undefined ? undefined : readSshAddress(ssh, absolute),
    secretFiles: readSecretFiles(command, absolute),
    upstreamProxy: readUpstreamProxy(command.options),
    takesProposals: readProposals(command),
    quiet: command.options.has('quiet'),
  });
}

/** Paths of sockets outside the run directory. */
export function socketPaths({ healthListener, metricsListener, sshAddress }: RunConfig): string[] {
  return [healthListener, metricsListener, sshAddress].flatMap((place) =>
    place !== undefined && 'path' in place ? [place.path] : [],
  );
}

function readMode(roles: string | undefined, uid: number): RunMode {
  switch (roles) {
    case undefined:
    case 'network,process':
      return uid === 0 ? 'root' : 'rootless';
    case 'network':
      return 'sidecar';
    case 'process':
      if (uid !== 0) return 'process-only';
      throw usage('--roles process is for a container that runs as the sandbox’s own user, not as root');
    default:
      throw usage(`--roles ${roles}: one of network,process, network and process`);
  }
}

/** Where running sandboxes of this user keep their sockets and state. */
export function runBase({ uid, environment }: Surroundings): string {
  if (uid === 0) return '/run/castellan';
  const runtime = readVariable(environment, 'XDG_RUNTIME_DIR');
  return runtime !== undefined && isAbsolute(runtime) ? join(runtime, 'castellan') : `/tmp/castellan-${uid}`;
}

/** Where audit files go that were not named on the command line. */
export function logDirectory({ uid, environment }: Surroundings): string {
  if (uid === 0) return '/var/log/castellan';
  const state = readVariable(environment, 'XDG_STATE_HOME');
  if (state !== undefined && isAbsolute(state)) return join(state, 'castellan');
  const home = readVariable(environment, 'HOME');
  return home !== undefined && isAbsolute(home)
    ? join(home, '.local/state/castellan')
    : `/tmp/castellan-${uid}/log`;
}

/** A name is a path component, an SSH host alias and a log field: the charset suits all three. */
export function isSandboxName(name: string): boolean {
  return /^[a-z0-9][a-z0-9-]{0,30}$/.test(name);
}

/** `NAME=VALUE`, or `NAME` for the value that castellan itself has. */
function readEnvironment(
  option: 'env' | 'shared-env',
  { options }: VerbArguments,
  { environment }: Surroundings,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    (options.get(option) ?? []).map((assignment) => {
      const equals = assignment.indexOf('=');
      const name = equals < 0 ? assignment : assignment.slice(0, equals);
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw usage(`--${option} ${name}: not a variable name`);
      const value = equals < 0 ? environment[name] : assignment.slice(equals + 1);
      if (value === undefined)
        throw usage(`--${option} ${name}: castellan itself has no such variable; write ${name}=VALUE`);
      return [name, value];
    }),
  );
}

function readOwnership(text: string | undefined): OwnershipMethod | undefined {
  return text === undefined ? undefined : readWord('ownership', text, OWNERSHIP_METHODS);
}

function readReload(when: string | undefined, invalid: string | undefined): ReloadConfig | undefined {
  if (when === undefined) {
    if (invalid !== undefined) throw usage('--on-invalid-policy takes --reload');
    return undefined;
  }
  return {
    when: readWord('reload', when, RELOAD_TIMES),
    invalid: readWord('on-invalid-policy', invalid ?? 'keep', INVALID_POLICY_EFFECTS),
  };
}

function readSecretFiles(
  { options }: VerbArguments,
  absolute: (path: string) => string,
): RunConfig['secretFiles'] {
  const files: Partial<Record<SecretFileName, string>> = {};
  for (const file of SECRET_FILE_NAMES) {
    const path = options.get(SECRET_FILE_OPTIONS[file])?.[0];
    if (path === undefined) continue;
    files[file] = absolute(path);
  }
  return files;
}

function readProposals({ options }: VerbArguments): boolean {
  return options.has('policy-proposals');
}

/** What runs and on whose streams: the command line, else the environment, else a login shell for a person. */
function readMain(
  { operands, options }: VerbArguments,
  { environment, stdinIsTerminal, stdoutIsTerminal }: Surroundings,
): Pick<RunConfig, 'command' | 'retain'> {
  const [first, ...rest] = operands;
  const wanted = options.has('retain');
  const tty = options.has('tty');
  if (first === '') throw usage('a command is missing after --');
  const spec = first === undefined ? mainProcessSpec(environment) : undefined;
  if (spec !== undefined) return { command: spec.command, retain: { terminal: spec.tty || tty } };
  if (first === undefined && !stdinIsTerminal)
    throw usage('a command is missing after --, and no terminal asks for a shell');
  if (tty && !wanted) throw usage('--tty takes --retain: any other command has castellan’s own streams');
  return {
    command: first === undefined ? undefined : [first, ...rest],
    retain: wanted ? { terminal: tty || (stdinIsTerminal && stdoutIsTerminal) } : undefined,
  };
}
