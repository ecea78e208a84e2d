/** A START: the stages of plan.ts in their order, and its end. A stage is a file beside this one. */
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import type { PodConfig } from '../config/pod.ts';
import type { SignalName, Surroundings } from '../config/surroundings.ts';
import { readVariable } from '../config/variables.ts';
import { CastellanError, ERROR_CODES } from '../errors.ts';
import { endPopulation, type Population } from '../kernel/population.ts';
import { posix } from '../kernel/posix.ts';
import { createIdentifier } from '../kernel/procfs.ts';
import { operatorEnvironment } from '../launch/environment.ts';
import { createMainConsole } from '../session/main-console.ts';
import { startMainProcess } from '../session/main-process.ts';
import { openRunAudit, type RunAudit } from './audit.ts';
import { withPlaceholders } from './cell.ts';
import { openDoors } from './doors.ts';
import { type HandedSocket, takeHandedSockets } from './handed-sockets.ts';
import { mainCommand } from './main-command.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { followBinaryLinks, serveNetwork } from './network.ts';
import { PROCESS_ROLE_STAGES, type RunStage, SIDECAR_STAGES } from './plan.ts';
import { openPopulation } from './population.ts';
import { layGroundwork, prepareSandbox } from './prepare.ts';
import { openReadiness, type Readiness } from './readiness.ts';
import { openPolicyReload } from './reload.ts';
import { launchNetworkRole } from './role-launch.ts';
import { claimRunDirectory, type RunDirectory } from './run-directory.ts';
import { openSignalInbox, type SignalInbox, signalExitCode } from './signals.ts';
import { startSsh } from './ssh.ts';
import { StartInterrupted, stageRunner } from './stage.ts';
import { awaitEnding, type Ending } from './supervise.ts';
import { settleView } from './view.ts';

export interface StartRequest {
  readonly config: RunConfig;
  readonly surroundings: Surroundings;
  readonly install: InstallPaths;
  readonly onSignal: (listener: (name: SignalName) => void) => Disposable;
  /** The operator's standard streams, for the command. */
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
}

/**
 * Runs one sandbox from start to end and gives the exit code. Whatever a stage made is taken back in reverse
 * order, also when a later stage fails.
 * @throws CastellanError for every refusal of castellan's own.
 */
export async function start(request: StartRequest): Promise<number> {
  using signals = openSignalInbox(request.onSignal);
  posix().setUndumpable();
  try {
    return await startRecorded(request, signals);
  } catch (error) {
    if (error instanceof StartInterrupted) return signalExitCode(error.signal);
    throw error;
  }
}

/** Claims the run directory and the log, and sees to it that the log tells how the run ended. */
async function startRecorded(request: StartRequest, signals: SignalInbox): Promise<number> {
  const { config, surroundings } = request;
  // First, because whatever is started from here on must not inherit them.
  const handed = takeHandedSockets(surroundings, config.mode);
  const isSidecar = config.mode === 'sidecar';
  const stage = stageRunner(isSidecar ? SIDECAR_STAGES : PROCESS_ROLE_STAGES, () => signals.stopRequest);
  await using runDirectory = await stage('run-directory', () => claimRunDirectory(config, surroundings));
  using readiness = openReadiness(surroundings);
  const metrics = createMetrics(config);
  const answerers = { probes: readiness.answer, metrics: metrics.answer };
  await using _doors = await openDoors(config, surroundings.uid, runDirectory.path, handed, answerers);
  await using audit = await stage('audit', () =>
    config.pod === undefined || isSidecar
      ? openRunAudit(config, surroundings, request.stderr, metrics.count)
      : join(config.pod, request, signals, metrics.count),
  );
  metrics.sources.audit = audit;
  audit.report({ kind: 'supervisor-started', mode: config.mode, pid: surroundings.pid });
  try {
    const run = isSidecar ? (await import('./sidecar.ts')).runSidecar : runSandbox;
    const { error, exitCode, reason } = await run(request, {
      stage,
      signals,
      runDirectory,
      handed,
      readiness,
      audit,
      metrics,
    });
    if (error !== undefined) throw error;
    audit.report({ kind: 'supervisor-stopped', exitCode, reason });
    await audit.conclude(exitCode, reason);
    return exitCode;
  } catch (error) {
    const exitCode = reportFailure(error, audit.report);
    // Where the log is lost this fails too, and the first reason is the one to tell.
    await audit.conclude(exitCode, String(error)).catch(() => {});
    throw error;
  }
}

/** Loaded when called for, as all that only pods need. */
async function join(
  pod: PodConfig,
  { surroundings, install }: StartRequest,
  signals: SignalInbox,
  observe: Report,
): Promise<RunAudit> {
  const { joinSidecar } = await import('./join-sidecar.ts');
  return joinSidecar(pod, { surroundings, install, signals, observe });
}

export interface RunParts {
  readonly stage: RunStage;
  readonly signals: SignalInbox;
  readonly runDirectory: RunDirectory;
  readonly handed: readonly HandedSocket[];
  readonly readiness: Readiness;
  readonly audit: RunAudit;
  readonly metrics: Metrics;
}

/** The stages between an open log and the end of the command, each undone when this returns. */
async function runSandbox(
  request: StartRequest,
  { stage, signals, runDirectory, handed, readiness, audit, metrics }: RunParts,
): Promise<Ending> {
  const { report, failed, sidecar } = audit;
  const { config, surroundings, install } = request;
  const began = performance.now();
  await using held = new AsyncDisposableStack();
  const parts = { config, surroundings, install, runDirectory, handed, stage, report, held, sidecar };
  const groundwork = await layGroundwork(parts);
  const { policy, cgroup, launcher, landlock, setup } = groundwork;
  const changesUid = config.mode === 'root';
  const role = held.use(
    await stage('network-role', () =>
      config.mode === 'process-only'
        ? undefined
        : launchNetworkRole({
            config,
            install,
            policy,
            changesUid,
            landlockAbi: landlock.abi,
            launcher,
            report,
          }),
    ),
  );
  const sandbox = await prepareSandbox({ ...parts, groundwork, create: true });
  const { files, secrets, trust, namespace } = sandbox;
  const serve = async () => {
    // Elsewhere, in a pod: it serves when it says so.
    await sidecar?.begun;
    if (role === undefined || namespace === undefined) return undefined;
    const identify = createIdentifier({
      diag: namespace.diag,
      inode: namespace.inode,
      supervisorPid: surroundings.pid,
    });
    return held.use(
      await serveNetwork(role, {
        ...{ config, policy, secrets, changesUid, identify, report },
        entrance: namespace,
        resolveRules: followBinaryLinks,
      }),
    );
  };
  const settle = async () =>
    cgroup === undefined ? settleView(sandbox.cell, namespace, launcher) : sandbox.cell;
  const [network, settled] = await stage('egress', () => together(serve(), settle()));
  metrics.sources.network = network;
  const { authority, placeholders = {} } = network ?? setup ?? {};
  if (authority !== undefined) await trust.publish(authority);
  const cell = withPlaceholders(settled, placeholders, config.environment);
  const reload = held.use(
    await openPolicyReload({ config, policy, granted: files.granted, network, report }),
  );
  const population = openPopulation({
    surroundings,
    cgroup,
    namespace,
    cell,
    rolePid: network?.pid,
    landlockAbi: landlock.abi,
    report,
  });
  // What nobody can put on record any more gets no time.
  let { graceMs } = config;
  void sidecar?.closed.then(() => {
    graceMs = 0;
  });
  held.defer(() => endEverybody(population, graceMs, report));
  const retain = config.retain && { ...config.retain, console: createMainConsole() };
  held.use(
    await stage('ssh', () =>
      startSsh({
        ...{ config, surroundings, runDirectory, handed, launcher, cell, report },
        mainConsole: retain?.console,
      }),
    ),
  );
  const main = await stage('launch', async () =>
    startMainProcess({
      launcher,
      cell,
      argv: await mainCommand(config, cell.identity),
      environment: operatorEnvironment(config.environment),
      terminalName: readVariable(surroundings.environment, 'TERM'),
      stdin: request.stdin,
      stdout: request.stdout,
      stderr: request.stderr,
      retain,
    }),
  );
  await stage('ready', async () => {
    await runDirectory.markReady(cell.identity.user);
    readiness.enter('ready');
    sidecar?.ready();
    report({
      kind: 'supervisor-ready',
      sshSocket: runDirectory.sshSocket,
      durationMs: performance.now() - began,
    });
  });
  // Awaited here: what is held must outlive the command.
  const ending = await awaitEnding({
    main,
    graceMs: config.graceMs,
    timeLimitMs: config.timeLimitMs,
    signals,
    onStop: () => readiness.enter('stopping'),
    reload: reload?.request,
    losses: network === undefined ? [failed] : [network.lost, failed],
    incidents: async () => (await cgroup?.incidents()) ?? [],
  });
  readiness.enter('stopping');
  return ending;
}

/** Both are over when this settles, also when one fails: what they use may be taken back then. */
async function together<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other]);
  return Promise.all([one, other]);
}

async function endEverybody(population: Population, graceMs: number, report: Report): Promise<void> {
  if (await endPopulation(population, graceMs)) return;
  report({ kind: 'internal-error', where: 'teardown', message: 'processes of the sandbox did not end' });
}

/** Gives the exit code that the failure leads to. */
function reportFailure(error: unknown, report: Report): number {
  if (error instanceof StartInterrupted) {
    const exitCode = signalExitCode(error.signal);
    report({ kind: 'supervisor-stopped', exitCode, reason: error.message });
    return exitCode;
  }
  if (error instanceof CastellanError) {
    report({ kind: 'supervisor-failed', code: error.code, step: error.step, message: error.message });
    return error.exitCode;
  }
  report({ kind: 'internal-error', where: 'start', message: String(error) });
  return ERROR_CODES.internal.exit;
}
