/** A FENCE: privileges → ruleset → read back → proof → state directory. What is installed stays, also when a later stage fails. */
import { existsSync } from 'node:fs';
import type { InstallPaths } from '../config/install.ts';
import type { NetworkInitConfig } from '../config/network-init.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import { type InstalledFence, installFence, verifyFence } from '../kernel/fence.ts';
import { type FamilyProof, proveFence } from '../kernel/fence-proof.ts';
import { findTool } from '../kernel/tools.ts';
import { NETWORK_INIT_STAGES } from './plan.ts';
import { requireFencePrivileges } from './privileges.ts';
import { stageRunner } from './stage.ts';
import { giveStateDirectory } from './state-directory.ts';

export interface NetworkInitRequest {
  readonly config: NetworkInitConfig;
  readonly surroundings: Surroundings;
  readonly install: InstallPaths;
}

export interface NetworkInitResult {
  readonly fence: InstalledFence;
  readonly families: readonly FamilyProof[];
  /** Undefined where there is none to prepare. */
  readonly stateDirectory: 'given' | 'was given already' | undefined;
}

/** @throws CastellanError for every refusal */
export async function networkInit(request: NetworkInitRequest): Promise<NetworkInitResult> {
  const { config, surroundings, install } = request;
  // A signal ends the process: a transaction is whole or not at all, and everything else can be done again.
  const stage = stageRunner(NETWORK_INIT_STAGES, () => undefined);
  await stage('privileges', () => {
    requireFencePrivileges(surroundings);
    if (!config.wholeMachine) refuseMachineNetwork();
  });
  const nft = await findTool('nft', install.toolDirectories);
  const { proxyUid, inboundPorts } = config;
  const fence = await stage('fence', () => installFence({ nft, proxyUid, inboundPorts }));
  await stage('read-back', () => verifyFence(nft, fence.ruleset));
  const families = await stage('proof', () => proveFence(inboundPorts));
  const stateDirectory = await stage('state-directory', () => prepareStateDirectory(config));
  return { fence, families, stateDirectory };
}

/** Among the settings that only the first network namespace of a machine has (net/core/sysctl_net_core.c). */
const MACHINE_SETTING = '/proc/sys/net/core/dev_weight';

/** Whoever types the verb on a server, or gives the pod the network of its node, would cut off everybody there. */
function refuseMachineNetwork(): void {
  if (!existsSync(MACHINE_SETTING)) return;
  throw new CastellanError('namespace_failed', 'this is the network of the machine itself, not a pod’s', {
    step: 'privileges',
    object: 'network namespace',
    remedy:
      'run it in a pod without hostNetwork; --whole-machine is for a virtual machine that holds one pod',
  });
}

function prepareStateDirectory(config: NetworkInitConfig): NetworkInitResult['stateDirectory'] {
  const { stateDirectory, proxyUid: uid, proxyGid: gid } = config;
  if (stateDirectory === undefined) return undefined;
  return giveStateDirectory(stateDirectory, { uid, gid }) ? 'given' : 'was given already';
}
