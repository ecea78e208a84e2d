/** The two containers of a pod: what each is told, and which options belong to the other. */
import { MAX_ID } from '../lib/id.ts';
import type { RunConfig, RunMode, VerbArguments } from './config.ts';
import { readInteger, readWord, usage } from './values.ts';

/** Who finds out which program is behind a connection: the process role, the sidecar by the pod's shared /proc, or nobody, which leaves programs out of every decision. */
export const BINARY_IDENTITIES = ['process', 'sidecar', 'none'] as const;
export type BinaryIdentity = (typeof BINARY_IDENTITIES)[number];
/** Of runs, rendered pods, the webhook and its chart: the one that identifies programs without any privilege. */
export const DEFAULT_BINARY_IDENTITY: BinaryIdentity = 'process';

export interface PodConfig {
  /** Path of the Unix socket over which the containers speak. */
  readonly controlSocket: string;
  /** Who the process role has to be; undefined leaves it open. Of the sidecar alone, as the next. */
  readonly sandboxUid: number | undefined;
  readonly binaryIdentity: BinaryIdentity;
}

export const NO_COMMAND: Pick<RunConfig, 'command' | 'retain'> = { command: undefined, retain: undefined };

/** What only the network role has a use for. */
const NETWORK_OPTIONS = [
  'credentials',
  'inference-routes',
  'upstream-proxy',
  'upstream-no-proxy',
  'upstream-proxy-auth-file',
  'upstream-proxy-auth-allow-insecure',
  'upstream-proxy-connect-by-hostname',
  'policy-proposals',
  'reload',
  'on-invalid-policy',
  'health-listen',
  'metrics-listen',
  'binary-identity',
  'sandbox-uid',
];
/** What a process role that has a sidecar gets from there, or leaves to it. */
const SIDECAR_OPTIONS = ['policy', 'audit-file', 'proxy-uid', 'explain'];
/** What is about the command. */
const COMMAND_OPTIONS = [
  ...['workdir', 'env', 'shared-env', 'ssh-socket', 'limit', 'retain', 'tty', 'timeout', 'ownership'],
  'explain',
];
const POD_OPTIONS = ['control-socket', 'sandbox-uid', 'binary-identity'];

/** @throws CastellanError `usage` for an option that the container has no use for: it belongs to the other one */
export function refuseForeign({ options, operands }: VerbArguments, mode: RunMode): void {
  const refuse = (names: readonly string[], why: string) => {
    const found = names.find((name) => options.has(name));
    if (found !== undefined) throw usage(`--${found} ${why}`);
  };
  switch (mode) {
    case 'sidecar':
      if (operands.length > 0) throw usage('--roles network takes no command: the agent’s container runs it');
      refuse(COMMAND_OPTIONS, 'is about the command, which the agent’s container runs');
      return;
    case 'process-only':
      refuse(NETWORK_OPTIONS, 'takes the network role, which this run has not');
      if (options.has('control-socket'))
        refuse(SIDECAR_OPTIONS, 'belongs to the sidecar, which has the policy and the log');
      return;
    default:
      refuse(POD_OPTIONS, 'takes --roles network or process, for two containers of a pod');
  }
}

/** @throws CastellanError `usage` */
export function readPod(
  options: VerbArguments['options'],
  mode: RunMode,
  absolute: (path: string) => string,
): PodConfig | undefined {
  const path = options.get('control-socket')?.[0];
  if (path === undefined) {
    if (mode === 'sidecar') throw usage('--roles network takes --control-socket');
    return undefined;
  }
  if (path === '') throw usage('--control-socket needs a path');
  const uid = options.get('sandbox-uid')?.[0];
  return {
    controlSocket: absolute(path),
    sandboxUid: uid === undefined ? undefined : readInteger('sandbox-uid', uid, 0, 1, MAX_ID),
    binaryIdentity: readWord(
      'binary-identity',
      options.get('binary-identity')?.[0] ?? DEFAULT_BINARY_IDENTITY,
      BINARY_IDENTITIES,
    ),
  };
}

/**
 * @param networkRoleUid whom the fence of the pod lets out
 * @throws CastellanError `usage`
 */
export function checkSidecarUids(networkRoleUid: number, uid: number, sandboxUid: number | undefined): void {
  if (uid !== 0 && networkRoleUid !== uid)
    throw usage(
      `--proxy-uid ${networkRoleUid}: castellan was started as ${uid}, and only root becomes another`,
    );
  if (networkRoleUid === sandboxUid)
    throw usage(`--sandbox-uid ${sandboxUid} is the network role’s: the sandbox would be let out`);
}
