/** A START: the stages of plan.ts in their order, and its end. A stage is a file beside this one. */
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import type { SignalName, Surroundings } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import { endPopulation, type Population } from '../kernel/population.ts';
import { posix } from '../kernel/posix.ts';
import { operatorEnvironment } from '../launch/environment.ts';
import { createMainConsole } from '../session/main-console.ts';
import { startMainProcess } from '../session/main-process.ts';
import { openRunAudit, type RunAudit } from './audit.ts';
import { withPlaceholders } from './cell.ts';
import { mainCommand } from './main-command.ts';
import { serveNetwork } from './network.ts';
import type { RunStage } from './plan.ts';
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
  const stage = stageRunner(() => signals.stopRequest);
  await using runDirectory = await stage('run-directory', () => claimRunDirectory(config, surroundings));
  await using readiness = await openReadiness({
    runDirectory: runDirectory.path,
    listener: config.healthListener,
    surroundings,
  });
  await using audit = await stage('audit', () => openRunAudit(config, surroundings, request.stderr));
  audit.report({ kind: 'supervisor-started', mode: config.mode, pid: surroundings.pid });
  try {
    const ending = await runSandbox(request, { stage, signals, runDirectory, readiness, audit });
    if (ending.error !== undefined) throw ending.error;
    audit.report({ kind: 'supervisor-stopped', exitCode: ending.exitCode, reason: ending.reason });
    return ending.exitCode;
  } catch (error) {
    reportFailure(error, audit.report);
    throw error;
  }
}

interface RunParts {
  readonly stage: RunStage;
  readonly signals: SignalInbox;
  readonly runDirectory: RunDirectory;
  readonly readiness: Readiness;
  readonly audit: RunAudit;
}

/** The stages between an open log and the end of the command, each undone when this returns. */
async function runSandbox(
  request: StartRequest,
  { stage, signals, runDirectory, readiness, audit }: RunParts,
): Promise<Ending> {
  const { report, failed } = audit;
  const { config, surroundings, install } = request;
  const began = performance.now();
  await using held = new AsyncDisposableStack();
  const parts = { config, surroundings, install, runDirectory, stage, report, held };
  const groundwork = await layGroundwork(parts);
  const { policy, cgroup, launcher, landlock } = groundwork;
  const role = held.use(
    await stage('network-role', () =>
      config.mode === 'process-only'
        ? undefined
        : launchNetworkRole({ config, install, policy, landlockAbi: landlock.abi, launcher, report }),
    ),
  );
  const sandbox = await prepareSandbox({ ...parts, groundwork, create: true });
  const { files, secrets, trust, namespace } = sandbox;
  const supervisorPid = surroundings.pid;
  const serve = async () =>
    role === undefined || namespace === undefined
      ? undefined
      : held.use(
          await serveNetwork(role, { config, entrance: namespace, policy, secrets, supervisorPid, report }),
        );
  const settle = () =>
    cgroup === undefined ? settleView(sandbox.cell, namespace, launcher) : Promise.resolve(sandbox.cell);
  const [network, settled] = await stage('egress', () => together(serve(), settle()));
  if (network?.authority !== undefined) await trust.publish(network.authority);
  const cell = withPlaceholders(settled, network?.placeholders ?? {}, config.environment);
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
  held.defer(() => endEverybody(population, config.graceMs, report));
  const retain = config.retain && { ...config.retain, console: createMainConsole() };
  held.use(
    await stage('ssh', () =>
      startSsh({ config, surroundings, runDirectory, launcher, cell, report, mainConsole: retain?.console }),
    ),
  );
  const main = await stage('launch', async () =>
    startMainProcess({
      launcher,
      cell,
      argv: await mainCommand(config, cell.identity),
      environment: operatorEnvironment(config.environment),
      terminalName: surroundings.environment['TERM'],
      stdin: request.stdin,
      stdout: request.stdout,
      stderr: request.stderr,
      retain,
    }),
  );
  await stage('ready', async () => {
    await runDirectory.markReady(cell.identity.user);
    readiness.enter('ready');
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

function reportFailure(error: unknown, report: Report): void {
  if (error instanceof CastellanError)
    report({ kind: 'supervisor-failed', code: error.code, step: error.step, message: error.message });
  else if (error instanceof StartInterrupted)
    report({ kind: 'supervisor-stopped', exitCode: signalExitCode(error.signal), reason: error.message });
  else report({ kind: 'internal-error', where: 'start', message: String(error) });
}
