/** A SIDECAR: the network side and the log of a sandbox whose command another container of the pod runs. */
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { PodConfig } from '../config/pod.ts';
import { CastellanError } from '../errors.ts';
import { landlockSupport } from '../kernel/landlock.ts';
import { openPodEntrance } from '../kernel/pod-network.ts';
import { PROXY_PORT } from '../kernel/sealed-namespace.ts';
import { createLauncher } from '../launch/launch.ts';
import { roleLost } from '../roles/channel.ts';
import { type ControlListener, listenForProcessRole, type ProcessPeer } from '../roles/control/listen.ts';
import { openSidecarEnd, type SidecarEnd } from '../roles/control/sidecar-end.ts';
import { type NetworkRole, serveNetwork } from './network.ts';
import { judgePrograms, type Programs } from './pod-programs.ts';
import { loadPolicy, reportPolicy } from './policy.ts';
import { requireSidecarPrivileges } from './privileges.ts';
import { openPolicyReload, type PolicyReload } from './reload.ts';
import { launchNetworkRole } from './role-launch.ts';
import { openSecretFiles } from './secret-files.ts';
import { isStopSignal } from './signals.ts';
import { StartInterrupted } from './stage.ts';
import type { RunParts, StartRequest } from './start.ts';
import type { Ending } from './supervise.ts';
import { reportUpstreamProxy } from './upstream-proxy.ts';

/** An image of gigabytes may have to be fetched before the agent's container starts. */
const ARRIVAL_DEADLINE_MS = 30 * 60_000;
/** Beyond the grace: what the process role needs to end everybody and to tell. */
const STOP_MARGIN_MS = 15_000;

/** The stages between an open log and the end of the agent's container, each undone when this returns. */
export async function runSidecar(request: StartRequest, parts: RunParts): Promise<Ending> {
  const { readiness, runDirectory, audit, signals } = parts;
  const began = performance.now();
  await using held = new AsyncDisposableStack();
  const serving = await serve(request, parts, held);
  const listener = held.use(await parts.stage('control-socket', () => listen(request, audit.report)));
  await parts.stage('ready', async () => {
    await runDirectory.markReady('');
    readiness.enter('ready');
    audit.report({
      kind: 'supervisor-ready',
      sshSocket: undefined,
      durationMs: performance.now() - began,
    });
  });
  const losses = [serving.network.lost, audit.failed];
  const peer = await arrival(listener, losses, signals.stopping);
  const container = meet(serving, peer, audit.report);
  held.defer(() => container.fail(roleLost('the sidecar ended')));
  const ending = await Promise.race([
    untilEnded(container, () => serving.programs.accept(container, peer.peer, serving.network)),
    ...losses.map(async (loss): Promise<Ending> => lossOf(await loss)),
    stopOnSignal(container, {
      signals,
      graceMs: request.config.graceMs,
      reload: serving.reload?.request,
      onStop: () => readiness.enter('stopping'),
    }),
  ]);
  readiness.enter('stopping');
  if (ending.error !== undefined) return ending;
  await audit.flush();
  container.confirm();
  return ending;
}

interface Serving {
  readonly network: NetworkRole;
  readonly programs: Programs;
  readonly reload: PolicyReload | undefined;
}

/** Everything but the agent's container: from then on the listeners are served, for nobody yet. */
async function serve(
  { config, surroundings, install }: StartRequest,
  { stage, runDirectory, metrics, audit: { report } }: RunParts,
  held: AsyncDisposableStack,
): Promise<Serving> {
  const pod = podOf(config);
  const changesUid = surroundings.uid === 0;
  await stage('privileges', () => requireSidecarPrivileges(surroundings, pod.binaryIdentity));
  const policy = await stage('policy', () => loadPolicy(config.policyPath));
  reportPolicy(policy, config.policyPath, report);
  reportUpstreamProxy(config.upstreamProxy, report);
  const secrets = held.use(openSecretFiles(config.secretFiles, { mode: 'sidecar', granted: [] }));
  const launcher = createLauncher({
    launcherPath: install.launcher,
    runDirectory: runDirectory.path,
    report,
  });
  const landlockAbi = landlockSupport().abi;
  const role = held.use(
    await stage('network-role', () =>
      launchNetworkRole({ config, install, policy, changesUid, landlockAbi, launcher, report }),
    ),
  );
  const entrance = held.use(await stage('namespace', () => openPodEntrance(install.netnsHelper)));
  if (!entrance.watches)
    report({
      kind: 'control-degraded',
      control: 'bypass-watch',
      reason: 'what the fence refuses is not recorded: reading it takes CAP_NET_ADMIN',
      remedy: 'give the sidecar’s container uid 0 and CAP_NET_ADMIN where the record is needed',
    });
  const programs = held.use(judgePrograms({ pod, entrance, policy, report }));
  const { identify, resolveRules } = programs;
  const network = held.use(
    await stage('egress', () =>
      serveNetwork(role, { config, entrance, policy, secrets, changesUid, identify, resolveRules, report }),
    ),
  );
  metrics.sources.network = network;
  const reload = held.use(await openPolicyReload({ config, policy, granted: [], network, report }));
  return { network, programs, reload };
}

function podOf({ pod }: RunConfig): PodConfig {
  if (pod === undefined) throw new CastellanError('internal', 'a sidecar without a pod', { step: 'sidecar' });
  return pod;
}

function listen({ config, surroundings }: StartRequest, report: Report): Promise<ControlListener> {
  const { controlSocket, sandboxUid, binaryIdentity } = podOf(config);
  return listenForProcessRole({
    path: controlSocket,
    uid: surroundings.uid,
    pid: surroundings.pid,
    sandboxUid,
    exemptUid: config.networkRoleUid,
    mustBeVisible: binaryIdentity === 'sidecar',
    report,
  });
}

/** Tells the process role what to apply. */
function meet({ network, programs }: Serving, peer: ProcessPeer, report: Report): SidecarEnd {
  const { uid, pid } = peer.peer;
  const where = pid === 0 ? 'in a pid namespace of its own' : `process ${pid}`;
  report({
    kind: 'control-applied',
    control: 'control-wire',
    detail: `process role: uid ${uid}, ${where}`,
  });
  const { authority, placeholders = {} } = network;
  const setup = {
    proxyPort: PROXY_PORT,
    policy: programs.policy,
    placeholders,
    ...(authority !== undefined && { authority }),
  };
  return openSidecarEnd(peer, setup, report);
}

/** @throws StartInterrupted when the end is asked for before, CastellanError of a loss, or `timeout` */
async function arrival(
  { accepted }: ControlListener,
  losses: readonly Promise<CastellanError>[],
  stopping: AbortSignal,
): Promise<ProcessPeer> {
  let late: NodeJS.Timeout | undefined;
  const missed = new Promise<never>((_, reject) => {
    late = setTimeout(
      () => reject(new CastellanError('timeout', 'no process role came', { step: 'control-socket' })),
      ARRIVAL_DEADLINE_MS,
    );
  });
  const stopped = new Promise<never>((_, reject) => {
    const onStop = () => reject(new StartInterrupted('SIGTERM'));
    if (stopping.aborted) onStop();
    else stopping.addEventListener('abort', onStop, { once: true });
  });
  const lost = losses.map((loss) => loss.then((error) => Promise.reject<never>(error)));
  try {
    return await Promise.race([accepted, missed, stopped, ...lost]);
  } finally {
    clearTimeout(late);
  }
}

async function untilEnded(container: SidecarEnd, prepare: () => Promise<void>): Promise<Ending> {
  try {
    await prepare();
    container.begin();
    const { exitCode, reason } = await container.ended;
    return { exitCode: 0, reason: `the agent’s container ended with ${exitCode}: ${reason}` };
  } catch (error) {
    if (error instanceof CastellanError) return lossOf(error);
    throw error;
  }
}

function lossOf(error: CastellanError): Ending {
  return { exitCode: error.exitCode, reason: error.message, error };
}

interface Stopping extends Pick<RunParts, 'signals'> {
  readonly graceMs: number;
  readonly reload: (() => void) | undefined;
  readonly onStop: () => void;
}

/** Passes a request for the end on. Settles only where the agent's container does not end in time, or is to end at once. */
function stopOnSignal(
  container: SidecarEnd,
  { signals, graceMs, reload, onStop }: Stopping,
): Promise<Ending> {
  return new Promise((resolve) => {
    let isAsked = false;
    const giveUp = (message: string) => resolve(lossOf(roleLost(message)));
    signals.take((name) => {
      if (name === 'SIGHUP') reload?.();
      if (!isStopSignal(name)) return;
      if (isAsked) return giveUp(`${name} came twice: the agent’s container was not waited for`);
      isAsked = true;
      onStop();
      container.stop();
      setTimeout(() => giveUp('the agent’s container did not end in time'), graceMs + STOP_MARGIN_MS).unref();
    });
  });
}
