/** A START: config → identity → filesystem → network → ssh → launch → ready, and its end. A stage is a file beside this one. */
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import type { SignalName, Surroundings } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import { createIdentifier } from '../kernel/procfs.ts';
import { createLauncher } from '../launch/launch.ts';
import { openRunAudit } from './audit.ts';
import { buildCell } from './cell.ts';
import { prepareRunFilesystem } from './filesystem.ts';
import { resolveRunIdentity } from './identity.ts';
import { makeNamespace } from './namespace.ts';
import { startNetworkRole } from './network.ts';
import { loadPolicy, reportPolicy } from './policy.ts';
import { claimRunDirectory, markReady } from './run-directory.ts';
import { startSsh } from './ssh.ts';
import { stageRunner } from './stage.ts';
import { endSandboxProcesses } from './stop.ts';
import { type Ending, superviseMain } from './supervise.ts';

export interface StartRequest {
  readonly config: RunConfig;
  readonly surroundings: Surroundings;
  readonly install: InstallPaths;
  readonly onSignal: (listener: (name: SignalName) => void) => Disposable;
}

/**
 * Runs one sandbox from start to end and gives the exit code. Whatever a stage made is taken back in reverse
 * order, also when a later stage fails.
 * @throws CastellanError for every refusal of castellan's own.
 */
export async function start(request: StartRequest): Promise<number> {
  const { config, surroundings, install, onSignal } = request;
  const began = performance.now();
  const stage = stageRunner();
  await using held = new AsyncDisposableStack();
  const runDirectory = held.use(await stage('run-directory', () => claimRunDirectory(config, surroundings)));
  const audit = held.use(await stage('audit', () => openRunAudit(config, surroundings)));
  const { report } = audit;
  report({ kind: 'supervisor-started', mode: config.mode, pid: surroundings.pid });
  try {
    const policy = await stage('policy', () => loadPolicy(config.policyPath));
    reportPolicy(policy, config.policyPath, report);
    const identity = await stage('identity', () => resolveRunIdentity(config, surroundings, policy, report));
    const files = held.use(await stage('filesystem', () => prepareRunFilesystem(request, policy, identity, report)));
    const namespace = held.use(await stage('namespace', () => makeNamespace(config, install, runDirectory, report)));
    held.defer(() => endSandboxProcesses(namespace.inode, config.graceMs));
    const launcher = createLauncher({ launcherPath: install.launcher, runDirectory: runDirectory.path, report });
    const cell = buildCell(request, policy, identity, files, namespace);
    const network = held.use(await stage('network-role', () => startNetworkRole({ request, policy, namespace, launcher, identify: createIdentifier({ ...namespace, supervisorPid: surroundings.pid }), report })));
    const ssh = held.use(await stage('ssh', () => startSsh(request, runDirectory, cell, launcher, namespace, report)));
    const main = await stage('launch', () => superviseMain(request, cell, launcher, report));
    await stage('ready', () => markReady(runDirectory, report, performance.now() - began));
    const ending = await firstEnding(main.ended, network.lost, audit.failed);
    report({ kind: 'supervisor-stopped', ...ending });
    return ending.exitCode;
  } catch (error) {
    throw error;
  }
}
