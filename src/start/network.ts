/** The network role as the process role sees it: started confined, wired, given the policy, watched. */
import { realpath } from 'node:fs/promises';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import { RESOLVER_THREADS } from '../egress/limits.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { posix } from '../kernel/posix.ts';
import { createIdentifier } from '../kernel/procfs.ts';
import type { SealedNamespace } from '../kernel/sealed-namespace.ts';
import { confineRole } from '../launch/confine.ts';
import { type LandlockPorts, landlockSpec } from '../launch/landlock.ts';
import type { Launcher, RunningProcess } from '../launch/launch.ts';
import { endProcesses, within } from '../launch/process.ts';
import { escapeText } from '../lib/escape.ts';
import { addBinaryTargets, literalBinaries } from '../policy/binaries.ts';
import type { NetworkRule, PolicyDocument } from '../policy/document.ts';
import { CONTROL_DESCRIPTOR, type Placeholders } from '../roles/message.ts';
import { openProcessSide, type ProcessSide, type Ready } from '../roles/process-side.ts';
import { layOutDescriptors } from './descriptor-layout.ts';
import { openReadable } from './filesystem.ts';
import { type ReachableCode, reachableCode } from './role-code.ts';
import type { SecretFiles } from './secret-files.ts';

export interface NetworkRoleOptions {
  readonly config: RunConfig;
  readonly install: InstallPaths;
  readonly namespace: SealedNamespace;
  readonly policy: PolicyDocument;
  readonly secrets: SecretFiles;
  readonly landlockAbi: number;
  readonly launcher: Launcher;
  readonly supervisorPid: number;
  readonly report: Report;
}

export interface NetworkRole extends AsyncDisposable {
  readonly pid: number;
  /** PEM of the certificate authority that opened TLS is proved by; undefined where none is opened. */
  readonly authority: string | undefined;
  /** What processes have in the place of secrets, by the names of variables. */
  readonly placeholders: Placeholders | undefined;
  /** Puts other rules in force; settles with how many connections that ended. Rejects when the role is lost. */
  replacePolicy(rules: readonly NetworkRule[]): Promise<number>;
  /** Settles when the role is gone without having been asked to stop. */
  readonly lost: Promise<CastellanError>;
}

/** Libraries of the system: those of an image are nobody's that the role should trust, and a bundle needs none. */
const SYSTEM_LIBRARIES: readonly string[] = ['/usr/lib', '/usr/lib64', '/lib', '/lib64'];
/** What Node and name resolution read besides; the role writes nothing. */
const ROLE_READS: readonly string[] = [
  ...['/usr/share', '/etc', '/proc', '/sys/fs/cgroup', '/sys/devices/system/cpu'],
  ...['/dev/null', '/dev/urandom', '/run/systemd/resolve', '/run/resolvconf', '/run/NetworkManager'],
];

/**
 * Sidecars get little memory, and the role's grows with its connections: V8 would let short-lived objects fill 48 MiB before it looks, and
 * malloc keep a heap for each of the resolver's threads. With these, 300 connections that are opened, 50 at a time, take 43 MiB instead of 88.
 */
const FRUGAL_OPTIONS: readonly string[] = ['--max-semi-space-size=2'];
const FRUGAL_VARIABLES: readonly string[] = ['MALLOC_ARENA_MAX=1'];

/** Node's own start takes some 100 ms; a loaded machine may need far longer. */
const READY_DEADLINE_MS = 20_000;
/** The role drains its relays within its own, shorter limit. */
const STOP_DEADLINE_MS = 5000;

/**
 * Starts the role and resolves once it serves.
 * @throws CastellanError `launch_failed`, `role_lost`, `timeout`
 */
export async function startNetworkRole(options: NetworkRoleOptions): Promise<NetworkRole> {
  const { config, install, namespace, policy, secrets, supervisorPid, report } = options;
  const identify = createIdentifier({ diag: namespace.diag, inode: namespace.inode, supervisorPid });
  await using undo = new AsyncDisposableStack();
  const code = undo.use(await reachableCode(config, install));
  const [ours, theirs] = posix().socketPair();
  const socket = new Socket({ fd: ours, readable: true, writable: true });
  undo.defer(() => void socket.destroy());
  const here = { listeners: namespace.listeners, secrets: secrets.descriptors };
  const { keep: placed, ...there } = layOutDescriptors(here, CONTROL_DESCRIPTOR + 1);
  const keep = [{ descriptor: theirs, target: CONTROL_DESCRIPTOR }, ...placed];
  const role = await launchRole(options, code, keep).finally(() => posix().close(theirs));
  undo.defer(() => endRole(role));
  namespace.closeListeners();
  secrets[Symbol.dispose]();
  passOnComplaints(role, report);
  const rules = await followBinaryLinks(policy.network);
  const mayChange = config.reload !== undefined;
  const side = openProcessSide(socket, {
    ...there,
    upstreamProxy: config.upstreamProxy,
    rules,
    mayChange,
    takesProposals: config.takesProposals,
    identify,
    report,
  });
  const { authority, placeholders } = await untilReady(side, role, config.secretFiles.credentials);
  const uid = config.mode === 'root' ? `uid ${config.networkRoleUid}` : 'the caller’s uid';
  report({
    kind: 'control-applied',
    control: 'network-role',
    detail: `pid ${role.pid}, ${uid}, no capabilities`,
  });
  const kept = undo.move();
  return {
    pid: role.pid,
    authority,
    placeholders,
    replacePolicy: async (next) => side.replacePolicy(await followBinaryLinks(next)),
    lost: side.closed.then((error) => withEnding(error, role)),
    async [Symbol.asyncDispose]() {
      side.stop();
      await within(role.exited, STOP_DEADLINE_MS);
      await kept.disposeAsync();
    },
  };
}

/** Once the supervisor's signals are scoped to the sandbox it cannot reach the role: its init ends it then. */
async function endRole(role: RunningProcess): Promise<void> {
  try {
    await endProcesses([role], { graceMs: 0 });
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error;
  }
}

async function launchRole(
  { config, install, landlockAbi, launcher, policy }: NetworkRoleOptions,
  code: ReachableCode,
  keep: Parameters<typeof confineRole>[0]['keep'],
): Promise<RunningProcess> {
  const { networkRoleUid: uid } = config;
  const libraries = install.selfContained ? [] : SYSTEM_LIBRARIES;
  using reads = openReadable([code.source, ...libraries, ...ROLE_READS]);
  return await launcher.launch(
    confineRole({
      argv: [code.node, ...FRUGAL_OPTIONS, code.main, 'network-role'],
      // OpenSSL would read the image's own configuration, which can name libraries to load.
      environment: [
        'NODE_ENV=production',
        'OPENSSL_CONF=/dev/null',
        ...FRUGAL_VARIABLES,
        `UV_THREADPOOL_SIZE=${RESOLVER_THREADS}`,
      ],
      credentials: config.mode === 'root' ? { uid, gid: uid, groups: [] } : undefined,
      mounts: code.mounts,
      landlock:
        landlockAbi > 0 ? landlockSpec(landlockAbi, reads.granted, rolePorts(config, policy)) : undefined,
      keep,
    }),
    { kind: 'pipes' },
  );
}

/** Name servers answer by TCP what does not fit into a datagram. */
const DNS_PORT = 53;
/** Far above what policies list; the launcher takes no more. */
const MAX_PORT_RULES = 512;

/**
 * The role never binds a TCP port, and connects to none that no rule names. Rules that may change may name any; so do routes to
 * models, which nobody but the role reads.
 */
export function rolePorts(
  { reload, secretFiles, upstreamProxy }: Pick<RunConfig, 'reload' | 'secretFiles' | 'upstreamProxy'>,
  { network }: Pick<PolicyDocument, 'network'>,
): LandlockPorts {
  const always = [DNS_PORT, ...(upstreamProxy === undefined ? [] : [upstreamProxy.port])];
  // Then nothing else is dialled, whatever the rules.
  if (upstreamProxy?.exceptions.length === 0) return { bind: [], connect: [...new Set(always)] };
  if (reload !== undefined || secretFiles.inferenceRoutes !== undefined)
    return { bind: [], connect: undefined };
  const listed = new Set([
    ...always,
    ...network.flatMap(({ endpoints }) => endpoints.flatMap(({ ports }) => ports)),
  ]);
  return { bind: [], connect: listed.size > MAX_PORT_RULES ? undefined : [...listed] };
}

/** The kernel names a program by the end of its links, a policy often by their beginning (/usr/bin/python3, /bin/sh). */
async function followBinaryLinks(rules: readonly NetworkRule[]): Promise<readonly NetworkRule[]> {
  const targets = new Map<string, string>();
  for (const path of literalBinaries(rules)) {
    const target = await realpath(path).catch(() => path);
    targets.set(path, target);
  }
  return addBinaryTargets(rules, targets);
}

/** The role knows its files by descriptors; `credentials` is the path of that one. */
async function untilReady(
  { ready }: ProcessSide,
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

/** The role has no terminal and no log of its own: what Node writes when it breaks becomes events. */
function passOnComplaints({ io }: RunningProcess, report: Report): void {
  if (io.kind !== 'pipes') return;
  io.stdin.end();
  io.stdout.resume();
  const lines = createInterface(io.stderr);
  lines.on('line', (line) =>
    report({ kind: 'internal-error', where: 'network-role', message: escapeText(line) }),
  );
}
