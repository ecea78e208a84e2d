/** How to run the system's OpenSSH client against a sandbox: everything on the command line, nothing from the user's files. */
import { CastellanError } from '../../errors.ts';

export interface SshArguments {
  /** Of the sandbox. */
  readonly name: string;
  readonly user: string;
  readonly socketPath: string;
  /** File with knownHostsLine(). */
  readonly knownHosts: string;
  /** The castellan program, for its `ssh-proxy`. */
  readonly castellan: string;
  /** Undefined lets ssh decide: a terminal for a shell, none for a command. */
  readonly tty: boolean | undefined;
  /** Its own options for forwards: `-L`, `-D`, `-W`, `-N`. */
  readonly forwards?: readonly string[];
  /** Joined with spaces and read by the sandbox's shell, as ssh does. */
  readonly command: readonly string[];
  /** The command is the name of a subsystem. */
  readonly subsystem?: boolean;
}

const FIXED_OPTIONS = [
  'GlobalKnownHostsFile=/dev/null',
  'StrictHostKeyChecking=yes',
  'UpdateHostKeys=no',
  'CheckHostIP=no',
  // The socket is the access control: there is nothing to prove and nobody to ask.
  'BatchMode=yes',
  'PubkeyAuthentication=no',
  'PasswordAuthentication=no',
  'KbdInteractiveAuthentication=no',
  'IdentityAgent=none',
  'ControlPath=none',
  'ForwardAgent=no',
  'ForwardX11=no',
  'ExitOnForwardFailure=yes',
  'SendEnv=COLORTERM',
] as const;

/** What the host is called in known_hosts and on the command line. */
export function hostAlias(name: string): string {
  return `castellan-${name}`;
}

/** One line of a known_hosts file. */
export function knownHostsLine(name: string, hostKey: string): string {
  return `${hostAlias(name)} ${hostKey}\n`;
}

/**
 * The arguments after `ssh`.
 * @throws CastellanError `usage` for a path that a configuration line cannot hold
 */
export function sshArguments({
  name,
  user,
  socketPath,
  knownHosts,
  castellan,
  tty,
  forwards = [],
  command,
  subsystem = false,
}: SshArguments): string[] {
  const host = hostAlias(name);
  const options = [
    `ProxyCommand=${[castellan, 'ssh-proxy', socketPath].map(proxyWord).join(' ')}`,
    `UserKnownHostsFile=${fileName(knownHosts)}`,
    `HostKeyAlias=${host}`,
    ...FIXED_OPTIONS,
    // Why a forward was refused is news to the client, not an error.
    `LogLevel=${forwards.length > 0 ? 'INFO' : 'ERROR'}`,
  ];
  return [
    '-F',
    'none',
    ...options.flatMap((option) => ['-o', option]),
    ...(tty === undefined ? [] : [tty ? '-t' : '-T']),
    ...forwards,
    ...(subsystem ? ['-s'] : []),
    '-l',
    user,
    // Ends the options for good: ssh would otherwise take more of them after the host.
    '--',
    host,
    ...command,
  ];
}

/** ssh expands %, then the user's shell splits: ssh_config(5), ProxyCommand. */
function proxyWord(text: string): string {
  const expanded = singleLine(text).replaceAll('%', '%%');
  return /^[A-Za-z0-9_./%:@+,-]+$/.test(expanded) ? expanded : `'${expanded.replaceAll("'", "'\\''")}'`;
}

/** A list of quoted names in which % and ${ are expanded; the latter cannot be escaped. */
function fileName(path: string): string {
  if (path.includes('${')) throw unusable(path);
  return `"${singleLine(path).replaceAll('%', '%%').replaceAll(/["\\]/g, '\\$&')}"`;
}

function singleLine(path: string): string {
  if (/[\r\n\0]/.test(path)) throw unusable(path);
  return path;
}

function unusable(path: string): CastellanError {
  return new CastellanError('usage', 'the OpenSSH client cannot be given this path', {
    step: 'ssh',
    object: path,
  });
}
