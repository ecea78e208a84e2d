/** Starts the network role's process, confined and wired; it boots and waits there until it is given what to serve. */
import { Socket } from 'node:net';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import { RESOLVER_THREADS } from '../egress/limits.ts';
import { errnoOf } from '../errors.ts';
import { posix } from '../kernel/posix.ts';
import { confineRole } from '../launch/confine.ts';
import { type LandlockPorts, landlockSpec } from '../launch/landlock.ts';
import type { Launcher, RunningProcess } from '../launch/launch.ts';
import { endProcesses } from '../launch/process.ts';
import { escapeText } from '../lib/escape.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { roleLost } from '../roles/channel.ts';
import { CONTROL_DESCRIPTOR, HANDOVER_DESCRIPTOR } from '../roles/message.ts';
import { openProcessSide, type ProcessSide } from '../roles/process-side.ts';
import { openReadable } from './filesystem.ts';
import { type ReachableCode, reachableCode } from './role-code.ts';

export interface RoleLaunchOptions {
  readonly config: RunConfig;
  readonly install: InstallPaths;
  readonly policy: PolicyDocument;
  /** Whether the role gets the uid that the configuration names; takes root. */
  readonly changesUid: boolean;
  readonly landlockAbi: number;
  readonly launcher: Launcher;
  readonly report: Report;
}

/** A role that was started and serves nothing yet. Disposing of it ends it at once, however far it is. */
export interface LaunchedRole extends AsyncDisposable {
  /** Settles when it runs, confined; rejects as Launcher.launch() does. */
  readonly running: Promise<RunningProcess>;
  readonly side: ProcessSide;
  /**
   * Passes descriptors on, once, in the order in which its task will name them. They stay open here.
   * @throws CastellanError `role_lost`
   */
  handOver(row: readonly number[]): void;
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

/** Resolves as soon as the launch is under way: failures come with `running`. */
export async function launchNetworkRole(options: RoleLaunchOptions): Promise<LaunchedRole> {
  await using undo = new AsyncDisposableStack();
  const code = undo.use(await reachableCode(options.config, options.install, options.changesUid));
  const [wire, theirWire] = posix().socketPair();
  const socket = new Socket({ fd: wire, readable: true, writable: true });
  undo.defer(() => void socket.destroy());
  const [ourHandover, theirHandover] = posix().socketPair();
  const passage = undo.use(new DisposableStack());
  const handover = passage.adopt(ourHandover, posix().close);
  const keep = [
    { descriptor: theirWire, target: CONTROL_DESCRIPTOR },
    { descriptor: theirHandover, target: HANDOVER_DESCRIPTOR },
  ];
  const abandoned = new AbortController();
  const running = launch(options, code, keep, abandoned.signal).finally(() => {
    for (const { descriptor } of keep) posix().close(descriptor);
  });
  undo.defer(async () => {
    abandoned.abort();
    const role = await running.catch(() => undefined);
    if (role !== undefined) await endRole(role);
  });
  running.then(
    (role) => passOnComplaints(role, options.report),
    // Told to whoever waits for it.
    () => {},
  );
  const kept = undo.move();
  return {
    running,
    side: openProcessSide(socket, { report: options.report }),
    handOver(row) {
      // The number may be another file's by then.
      if (passage.disposed) throw roleLost('the network role has its descriptors already');
      try {
        posix().sendDescriptors(handover, row);
      } catch (error) {
        throw roleLost('the network role took no descriptors', error);
      } finally {
        passage.dispose();
      }
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function launch(
  { config, install, landlockAbi, launcher, policy, changesUid }: RoleLaunchOptions,
  code: ReachableCode,
  keep: Parameters<typeof confineRole>[0]['keep'],
  signal: AbortSignal,
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
      credentials: changesUid ? { uid, gid: uid, groups: [] } : undefined,
      mounts: code.mounts,
      landlock:
        landlockAbi > 0 ? landlockSpec(landlockAbi, reads.granted, rolePorts(config, policy)) : undefined,
      keep,
    }),
    { kind: 'pipes' },
    undefined,
    { signal },
  );
}

/** Once the supervisor's signals are scoped to the sandbox it cannot reach the role: its init ends it then. */
async function endRole(role: RunningProcess): Promise<void> {
  try {
    await endProcesses([role], { graceMs: 0 });
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error;
  }
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

/** More than is told of a line. */
const MAX_COMPLAINT_LENGTH = 1024;

/** The role has no terminal and no log of its own: what Node writes when it breaks becomes events. */
function passOnComplaints({ io }: RunningProcess, report: Report): void {
  if (io.kind !== 'pipes') return;
  io.stdin.end();
  io.stdout.resume();
  const tell = (line: string): void =>
    report({ kind: 'internal-error', where: 'network-role', message: escapeText(line) });
  let begun = '';
  io.stderr.setEncoding('utf8');
  io.stderr.on('data', (text: string) => {
    const lines = (begun + text).split('\n');
    begun = (lines.pop() ?? '').slice(0, MAX_COMPLAINT_LENGTH);
    for (const line of lines) tell(line);
  });
  io.stderr.once('end', () => {
    if (begun !== '') tell(begun);
  });
}
