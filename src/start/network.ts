/** The network role at work, as the process role sees it: given its sockets and the policy, and watched. */
import { realpath } from 'node:fs/promises';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import { CastellanError } from '../errors.ts';
import type { NetworkEntrance } from '../kernel/network-entrance.ts';
import { type RunningProcess, within } from '../launch/process.ts';
import { addBinaryTargets, literalBinaries } from '../policy/binaries.ts';
import type { NetworkRule, PolicyDocument } from '../policy/document.ts';
import type { Identify } from '../roles/answer.ts';
import type { NetworkFigures, Placeholders } from '../roles/message.ts';
import type { Ready } from '../roles/process-side.ts';
import { layOutDescriptors } from './descriptor-layout.ts';
import type { LaunchedRole } from './role-launch.ts';
import type { SecretFiles } from './secret-files.ts';

export interface NetworkOptions {
  readonly config: RunConfig;
  readonly entrance: NetworkEntrance;
  readonly policy: PolicyDocument;
  readonly secrets: SecretFiles;
  readonly identify: Identify;
  /** Whether the role has a uid of its own. */
  readonly changesUid: boolean;
  /** The rules as they are judged by: with the programs that names lead to. */
  readonly resolveRules: (rules: readonly NetworkRule[]) => Promise<readonly NetworkRule[]>;
  readonly report: Report;
}

/** Disposing of it lets it drain and end; its process is ended by who launched it. */
export interface NetworkRole extends AsyncDisposable {
  readonly pid: number;
  /** PEM of the certificate authority that opened TLS is proved by; undefined where none is opened. */
  readonly authority: string | undefined;
  /** What processes have in the place of secrets, by the names of variables. */
  readonly placeholders: Placeholders | undefined;
  /** Puts other rules in force; settles with how many connections that ended. Rejects when the role is lost. */
  replacePolicy(rules: readonly NetworkRule[]): Promise<number>;
  /** Undefined where the role does not answer in time. Never rejects. */
  measure(): Promise<NetworkFigures | undefined>;
  /** Settles when the role is gone without having been asked to stop. */
  readonly lost: Promise<CastellanError>;
}

/** Node's own start takes some 100 ms; a loaded machine may need far longer. */
const READY_DEADLINE_MS = 20_000;
/** The role drains its relays within its own, shorter limit. */
const STOP_DEADLINE_MS = 5000;

/**
 * Gives the role what it is to serve, and resolves once it does.
 * @throws CastellanError `launch_failed`, `role_lost`, `timeout`
 */
export async function serveNetwork(launched: LaunchedRole, options: NetworkOptions): Promise<NetworkRole> {
  const { config, report } = options;
  const { side } = launched;
  const role = await launched.running;
  const { authority, placeholders } = await untilReady(
    begin(launched, options),
    role,
    config.secretFiles.credentials,
  );
  const uid = options.changesUid ? `uid ${config.networkRoleUid}` : 'the caller’s uid';
  report({
    kind: 'control-applied',
    control: 'network-role',
    detail: `pid ${role.pid}, ${uid}, no capabilities`,
  });
  return {
    pid: role.pid,
    authority,
    placeholders,
    replacePolicy: async (next) => side.replacePolicy(await options.resolveRules(next)),
    measure: side.measure,
    lost: side.closed.then((error) => withEnding(error, role)),
    async [Symbol.asyncDispose]() {
      side.stop();
      await within(role.exited, STOP_DEADLINE_MS);
    },
  };
}

async function begin({ handOver, side }: LaunchedRole, options: NetworkOptions): Promise<Ready> {
  const { config, entrance, policy, secrets, identify } = options;
  const rules = await options.resolveRules(policy.network);
  const { row, places } = layOutDescriptors({
    listeners: entrance.listeners,
    secrets: secrets.descriptors,
  });
  handOver(row);
  entrance.closeListeners();
  secrets[Symbol.dispose]();
  return side.serve({
    ...places,
    upstreamProxy: config.upstreamProxy,
    rules,
    mayChange: config.reload !== undefined,
    takesProposals: config.takesProposals,
    identify,
  });
}

/** The kernel names a program by the end of its links, a policy often by their beginning (/usr/bin/python3, /bin/sh). */
export async function followBinaryLinks(rules: readonly NetworkRule[]): Promise<readonly NetworkRule[]> {
  const targets = new Map<string, string>();
  for (const path of literalBinaries(rules)) {
    const target = await realpath(path).catch(() => path);
    targets.set(path, target);
  }
  return addBinaryTargets(rules, targets);
}

/** The role knows its files by descriptors; `credentials` is the path of that one. */
async function untilReady(
  ready: Promise<Ready>,
  role: RunningProcess,
  credentials: string | undefined,
): Promise<Ready> {
  try {
    if (await within(ready, READY_DEADLINE_MS)) return await ready;
  } catch (error) {
    if (error instanceof CastellanError && error.code === 'credentials_invalid')
      throw new CastellanError(error.code, `${credentials}:${error.message}`, { step: 'credentials' });
    throw error instanceof CastellanError ? await withEnding(error, role) : error;
  }
  throw new CastellanError('timeout', 'the network role did not become ready', { step: 'network-role' });
}

/** A process that ends closes its wire an instant before anybody can wait for it. */
const ENDING_DEADLINE_MS = 1000;

/** The error of a closed wire does not tell whether the role broke, was killed for memory, or just left. */
async function withEnding(error: CastellanError, { exited }: RunningProcess): Promise<CastellanError> {
  if (error.code !== 'role_lost' || !(await within(exited, ENDING_DEADLINE_MS))) return error;
  const { exitCode, signal } = await exited;
  const how = signal === undefined ? `with ${exitCode}` : `by ${signal}`;
  return new CastellanError('role_lost', `${error.message}; the network role ended ${how}`, {
    step: error.step,
    cause: error,
  });
}
