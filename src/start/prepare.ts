/** The first half of a start: everything that can refuse before anything untrusted runs. Explaining and validating end here. */
import type { Report } from '../audit/event.ts';
import { type RunConfig, socketPaths } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import type { Surroundings } from '../config/surroundings.ts';
import type { SandboxCgroup } from '../kernel/cgroup.ts';
import { type LandlockSupport, landlockSupport } from '../kernel/landlock.ts';
import { PROXY_PORT, type SealedNamespace } from '../kernel/sealed-namespace.ts';
import type { Cell } from '../launch/cell.ts';
import { createLauncher, type Launcher } from '../launch/launch.ts';
import type { PolicyDocument } from '../policy/document.ts';
import type { Setup } from '../roles/control/message.ts';
import type { ProcessEnd } from '../roles/control/process-end.ts';
import { viewAccounts } from './account-view.ts';
import { buildCell } from './cell.ts';
import { type PreparedFilesystem, prepareFilesystem } from './filesystem.ts';
import type { HandedSocket } from './handed-sockets.ts';
import { homeOf } from './home.ts';
import { readAccounts, resolveRunIdentity } from './identity.ts';
import { makeCgroup, resourceLimits } from './limits.ts';
import { ownPlaces, viewOfRun } from './mount-view.ts';
import { makeNamespace } from './namespace.ts';
import { takeOwnership } from './ownership.ts';
import type { RunStage } from './plan.ts';
import { loadPolicy, refuseWritableFiles, reportPolicy } from './policy.ts';
import { requireRootPrivileges } from './privileges.ts';
import { managerSocket } from './readiness.ts';
import type { RunDirectory } from './run-directory.ts';
import { openSecretFiles, type SecretFiles } from './secret-files.ts';
import { openTrustStore, type TrustStore } from './trust.ts';
import { reportUpstreamProxy } from './upstream-proxy.ts';

export interface GroundworkRequest {
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
  /** Set where the policy is the sidecar's. */
  readonly sidecar?: Pick<ProcessEnd, 'setup' | 'congestion'> | undefined;
}

/** What castellan's own processes need, and all that the network role's launch does. */
export interface Groundwork {
  readonly policy: PolicyDocument;
  readonly cgroup: SandboxCgroup | undefined;
  readonly launcher: Launcher;
  readonly landlock: LandlockSupport;
  /** What the sidecar said; undefined where there is none. */
  readonly setup: Setup | undefined;
}

export interface PrepareRequest extends GroundworkRequest {
  readonly groundwork: Groundwork;
  /** False looks only: nothing is created that outlives the command. */
  readonly create: boolean;
}

export interface PreparedSandbox {
  readonly files: PreparedFilesystem;
  readonly secrets: SecretFiles;
  readonly trust: TrustStore;
  readonly namespace: SealedNamespace | undefined;
  readonly cell: Cell;
}

/** @throws CastellanError for every refusal */
export async function layGroundwork(request: GroundworkRequest): Promise<Groundwork> {
  const { config, surroundings, install, runDirectory, stage, report, held } = request;
  if (config.mode === 'root') requireRootPrivileges(report);
  const { policy, setup } = await stage('policy', async () => {
    const setup = await request.sidecar?.setup;
    return { setup, policy: setup === undefined ? await loadPolicy(config.policyPath) : policyOf(setup) };
  });
  // The sidecar has told of its own.
  if (setup === undefined) reportPolicy(policy, config.policyPath, report);
  // Before castellan has any other process: those it knows itself by may have to move.
  const cgroup = held.use(await stage('cgroup', () => makeCgroup(config, surroundings, report)));
  if (cgroup !== undefined) await runDirectory.noteCgroup(cgroup.path);
  const launcher = createLauncher({
    launcherPath: install.launcher,
    runDirectory: runDirectory.path,
    report,
    congestion: request.sidecar?.congestion,
  });
  return { policy, cgroup, launcher, landlock: landlockSupport(), setup };
}

/** The policy as far as it is applied in the agent's container of a pod. */
function policyOf({ policy }: Setup): PolicyDocument {
  return { version: 1, ...policy.parts, network: [], notices: [], digest: '' };
}

/** @throws CastellanError for every refusal */
export async function prepareSandbox(request: PrepareRequest): Promise<PreparedSandbox> {
  const { config, surroundings, install, runDirectory, handed = [], stage, report, held, create } = request;
  const { policy, cgroup, landlock, setup } = request.groundwork;
  const { resolved, accounts } = await stage('identity', async () => {
    const accounts = await readAccounts();
    const resolved = await resolveRunIdentity(config, surroundings, policy.process, accounts, report);
    return { resolved, accounts };
  });
  const sockets = [...socketPaths(config), ...handed.flatMap(({ path }) => path ?? [])];
  const own = await ownPlaces(config, install, sockets, managerSocket(surroundings));
  const files = held.use(
    await stage('filesystem', () =>
      prepareFilesystem(policy.filesystem, config.workingDirectory, own, resolved, report, {
        create,
        everyPathRequired: policy.landlock.compatibility === 'hard_requirement',
      }),
    ),
  );
  const identity = { ...resolved, home: await homeOf(resolved.home, config.workingDirectory) };
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
  const trust = held.use(
    await openTrustStore({ config, policy, setup, directory: runDirectory.path, report }),
  );
  const namespace = held.use(
    await stage('namespace', () => makeNamespace(config, install, runDirectory.interfaceName, report)),
  );
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
    proxyPort: namespace === undefined ? setup?.proxyPort : PROXY_PORT,
    landlock,
    report,
  });
  return { files, secrets, trust, namespace, cell };
}
