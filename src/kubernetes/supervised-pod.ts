/** The parts of a pod that castellan is in, by what they are. */
import type { V1Container, V1EphemeralContainer, V1PodSpec } from '@kubernetes/client-node';
import { isNativeSidecar, type PlacedContainer, placedContainers } from './containers.ts';
import { CASTELLAN, CONTAINERS } from './layout.ts';
import type { Topology } from './supervisor.ts';

export interface SupervisedPod {
  readonly spec: V1PodSpec;
  readonly topology: Topology;
  readonly install: PlacedContainer | undefined;
  readonly fence: PlacedContainer | undefined;
  readonly network: PlacedContainer | undefined;
  /** Whose command castellan starts. */
  readonly agents: readonly PlacedContainer[];
  /** Everybody whose image is not castellan's: the agents, the seed, and who is not supervised. */
  readonly untrusted: readonly PlacedContainer[];
  /** uid and gid of the network role, as the fence or castellan is told it. */
  readonly proxyUid: number | undefined;
}

type Container = V1Container | V1EphemeralContainer;

/** Sorts the containers. Names alone make nobody trusted: who has one has to run castellan as well. */
export function readSupervisedPod(spec: V1PodSpec): SupervisedPod {
  const placed = placedContainers(spec);
  const own = (name: string) =>
    placed.find(({ container }) => container.name === name && runsCastellan(container));
  const [install, fence, network] = [own(CONTAINERS.install), own(CONTAINERS.fence), own(CONTAINERS.network)];
  const trusted = [install, fence, network];
  const agents = placed.filter(
    (one) => !trusted.includes(one) && runsCastellan(one.container) && one.container.args?.[0] === 'run',
  );
  const isSidecar = agents.some(({ container }) => optionOf(container, '--roles') === 'process');
  const told = [fence, network, ...agents].map((one) => one && optionOf(one.container, '--proxy-uid'));
  const proxy = told.find((text) => text !== undefined);
  return {
    spec,
    topology: isSidecar || fence !== undefined ? 'sidecar' : 'combined',
    install,
    fence,
    network,
    agents,
    untrusted: placed.filter((one) => !trusted.includes(one)),
    proxyUid: proxy !== undefined && /^\d{1,10}$/.test(proxy) ? Number(proxy) : undefined,
  };
}

export function runsCastellan({ command }: Container): boolean {
  return command?.length === 1 && command[0] === CASTELLAN;
}

/** What an option of castellan's is given in a container's arguments, before the agent's command. */
export function optionOf({ args = [] }: Container, option: string): string | undefined {
  const end = args.indexOf('--');
  const own = end < 0 ? args : args.slice(0, end);
  const index = own.indexOf(option);
  return index < 0 ? undefined : own[index + 1];
}

/** When a container is there: an init container at its place, all others after the last of them. */
export function startOf({ spec }: SupervisedPod, { kind, container }: PlacedContainer): number {
  const inits: readonly Container[] = spec.initContainers ?? [];
  return kind === 'init' ? inits.indexOf(container) : inits.length;
}

/** Whether the network role serves before others start: as a native sidecar, or by the control socket beside them. */
export function isServing({ network }: SupervisedPod): boolean {
  return network !== undefined && (network.kind === 'main' || isNativeSidecar(network));
}
