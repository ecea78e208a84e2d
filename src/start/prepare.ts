/** The first half of a start: everything that can refuse before anything untrusted runs. Explaining and validating end here. */
import type { Report } from '../audit/event.ts';
import { type RunConfig, socketPaths } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import type { Surroundings } from '../config/surroundings.ts';
import type { SandboxCgroup } from '../kernel/cgroup.ts';
import { landlockSupport } from '../kernel/landlock.ts';
import type { SealedNamespace } from '../kernel/sealed-namespace.ts';
import type { Cell } from '../launch/cell.ts';
import { createLauncher, type Launcher } from '../launch/launch.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { viewAccounts } from './account-view.ts';
import { buildCell } from './cell.ts';
import { type PreparedFilesystem, prepareFilesystem } from './filesystem.ts';
import type { HandedSocket } from './handed-sockets.ts';
import { readAccounts, resolveRunIdentity } from './identity.ts';
import { makeCgroup, resourceLimits } from './limits.ts';
import { ownPlaces, viewOfRun } from './mount-view.ts';
import { makeNamespace } from './namespace.ts';
import { takeOwnership } from './ownership.ts';
import type { RunStage } from './plan.ts';
import { loadPolicy, refuseWritableFiles, reportPolicy } from './policy.ts';
import { managerSocket } from './readiness.ts';
import type { RunDirectory } from './run-directory.ts';
import { openSecretFiles, type SecretFiles } from './secret-files.ts';
import { openTrustStore, type TrustStore } from './trust.ts';
import { reportUpstreamProxy } from './upstream-proxy.ts';

export interface PrepareRequest {
  readonly config: RunConfig;
  readonly surroundings: Surroundings;
  readonly install: InstallPaths;
  readonly runDirectory: RunDirectory;
  /** Sockets that others have opened; a mere look has none. */
  readonly handed?: readonly HandedSocket[];
  readonly stage: RunStage;
  readonly report: Report;
  /** Takes everything back, in reverse. */
  readonly held: AsyncDisposableStack;
  /** False looks only: nothing is created that outlives the command. */
  readonly create: boolean;
}

export interface PreparedSandbox {
  readonly policy: PolicyDocument;
  readonly files: PreparedFilesystem;
  readonly secrets: SecretFiles;
  readonly trust: TrustStore;
  readonly cgroup: SandboxCgroup | undefined;
  readonly namespace: SealedNamespace | undefined;
  readonly cell: Cell;
  readonly launcher: Launcher;
  readonly landlockAbi: number;
}

/** @throws CastellanError for every refusal */
export async function prepareSandbox(request: PrepareRequest): Promise<PreparedSandbox> {
  const { config, surroundings, install, runDirectory, handed = [], stage, report, held, create } = request;
  const landlock = landlockSupport();
  const policy = await stage('policy', () => loadPolicy(config.policyPath));
  reportPolicy(policy, config.policyPath, report);
  const { identity, accounts } = await stage('identity', async () => {
    const accounts = await readAccounts();
    const identity = await resolveRunIdentity(config, surroundings, policy.process, accounts, report);
    return { identity, accounts };
  });
  const sockets = [...socketPaths(config), ...handed.flatMap(({ path }) => path ?? [])];
  const own = await ownPlaces(config, install, sockets, managerSocket(surroundings));
  const files = held.use(
    await stage('filesystem', () =>
      prepareFilesystem(policy.filesystem, config.workingDirectory, own, identity, report, {
        create,
        everyPathRequired: policy.landlock.compatibility === 'hard_requirement',
      }),
    ),
  );
  await refuseWritableFiles(policy, files.granted);
  reportUpstreamProxy(config.upstreamProxy, report);
  const secrets = held.use(
    openSecretFiles(config.secretFiles, { mode: config.mode, identity, granted: files.granted }),
  );
  const ownership = held.use(
    await stage('ownership', () => takeOwnership({ config, identity, files, own, create, report })),
  );
  const view = held.use(
    await viewAccounts({ config, identity, files: accounts, directory: runDirectory.path, create, report }),
  );
  const trust = held.use(await openTrustStore({ config, policy, directory: runDirectory.path, report }));
  const cgroup = held.use(await stage('cgroup', () => makeCgroup(config, surroundings, report)));
  if (cgroup !== undefined) await runDirectory.noteCgroup(cgroup.path);
  const namespace = held.use(
    await stage('namespace', () => makeNamespace(config, install, runDirectory.interfaceName, report)),
  );
  const launcher = createLauncher({
    launcherPath: install.launcher,
    runDirectory: runDirectory.path,
    report,
  });
  const cell = buildCell({
    config,
    policy,
    identity,
    files,
    mounts: [
      ...view.mounts,
      ...trust.mounts,
      ...ownership.mounts,
      ...(await viewOfRun(config, own, files, trust.cover)),
    ],
    trust,
    cgroup,
    resourceLimits: await resourceLimits(config, surroundings),
    namespace,
    landlock,
    report,
  });
  return { policy, files, secrets, trust, cgroup, namespace, cell, launcher, landlockAbi: landlock.abi };
}
