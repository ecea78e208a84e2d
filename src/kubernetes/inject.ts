/**
 * Puts castellan into a pod. The same function makes a pod of a request (render.ts) and changes one that somebody else wrote, so
 * that it refuses rather than guesses: whatever it gives back passes validate.ts.
 */
import type { V1Container, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { CastellanError } from '../errors.ts';
import { superviseContainer } from './agent-container.ts';
import { annotate } from './annotations.ts';
import { fenceCompanion } from './companions.ts';
import { placedContainers } from './containers.ts';
import { refuseProxyIds } from './identity.ts';
import { CASTELLAN, isReservedName, RESERVED_PREFIX, refusePod } from './layout.ts';
import { castellanVolumes } from './mounts.ts';
import { fenceContainer, installContainer, networkContainer } from './own-containers.ts';
import { podSecurityViolations } from './pod-security.ts';
import { sameButDefaults, withoutCastellan } from './recognise.ts';
import { needsFsGroup, refuseConflicts, refuseOptions } from './refusals.ts';
import { supervisionFindings } from './rules-supervision.ts';
import { seedContainer } from './seed-container.ts';
import type { SupervisorOptions } from './supervisor.ts';

/** On top of castellan's own grace: for its last records, and for the sidecar, which is told to end after the agent. */
const END_SECONDS = 20;

/**
 * The pod with castellan in it. A pod that has exactly that already is given back as it is.
 * @throws CastellanError `manifest_invalid`, `identity_invalid`
 */
export function injectSupervisor(pod: V1PodTemplateSpec, options: SupervisorOptions): V1PodTemplateSpec {
  refuseOptions(options);
  refuseProxyIds(options.identity, options.proxyUid);
  const { spec } = pod;
  if (spec === undefined) return refusePod('pod', 'the pod has no spec');
  if (!hasCastellan(spec)) return build(pod, spec, options);
  if (isAsBuilt(pod, spec, options)) return pod;
  return refusePod(
    'pod',
    `the pod has parts named ${RESERVED_PREFIX}… that are not what castellan would put there`,
    'take them out: castellan puts in its own',
  );
}

/** Whether castellan, taken out and put in again, gives the same pod. What it then refuses is none of its own making. */
function isAsBuilt(pod: V1PodTemplateSpec, spec: V1PodSpec, options: SupervisorOptions): boolean {
  const bare = withoutCastellan(pod, spec);
  try {
    return sameButDefaults(pod, build(bare, bare.spec, options));
  } catch (error) {
    if (error instanceof CastellanError) return false;
    throw error;
  }
}

/** Whether any part of a pod has a name of castellan's. */
export function hasCastellan(spec: V1PodSpec): boolean {
  return (
    placedContainers(spec).some(
      ({ container }) => isReservedName(container.name) || container.command?.[0] === CASTELLAN,
    ) || (spec.volumes ?? []).some(({ name }) => isReservedName(name))
  );
}

function build(pod: V1PodTemplateSpec, spec: V1PodSpec, options: SupervisorOptions): V1PodTemplateSpec {
  const agent = chooseAgent(spec, options);
  refuseConflicts(spec, agent, options);
  const supervised = superviseContainer(agent, options);
  const companion = (container: V1Container) => fenceCompanion(container, options);
  const initContainers = [
    ...ownInitContainers(options),
    ...(options.seed === undefined ? [] : [seedContainer(agent, options.seed, options)]),
    ...(spec.initContainers ?? []).map(companion),
  ];
  const containers = [
    ...spec.containers.map((container) => (container === agent ? supervised : companion(container))),
    ...(options.topology === 'sidecar' && !options.nativeSidecar ? [networkContainer(options)] : []),
  ];
  const groupOwned = needsFsGroup(spec, options);
  const mounts = [...initContainers, ...containers].flatMap(({ volumeMounts = [] }) => volumeMounts);
  const volumes = [...(spec.volumes ?? []), ...castellanVolumes(options, mounts, groupOwned)];
  const { initContainers: _, containers: __, volumes: ___, ...others } = spec;
  const fields = { ...others, ...podFields(spec, options, groupOwned) };
  const built = { initContainers, containers, volumes, ...fields };
  const supervisedPod = annotate({ ...pod, spec: built }, options);
  refuseFindings(supervisedPod);
  return supervisedPod;
}

/** What validate would find is nobody's to find later. */
function refuseFindings(pod: V1PodTemplateSpec): void {
  const [first] = supervisionFindings(pod, podSecurityViolations(pod), 'Pod');
  if (first !== undefined) refusePod(first.where, `${first.path}: ${first.why}`, first.remedy);
}

/** In the order of trust: the program, the fence, the network, and only then what is not castellan's. */
function ownInitContainers(options: SupervisorOptions): V1Container[] {
  return [
    ...(options.install === 'copy' ? [installContainer(options)] : []),
    ...(options.topology === 'sidecar' ? [fenceContainer(options)] : []),
    ...(options.topology === 'sidecar' && options.nativeSidecar ? [networkContainer(options)] : []),
  ];
}

function chooseAgent({ containers }: V1PodSpec, { agentContainer }: SupervisorOptions): V1Container {
  const [only, ...others] = containers;
  if (agentContainer !== undefined)
    return (
      containers.find(({ name }) => name === agentContainer) ??
      refusePod(agentContainer, `the pod has no container ${agentContainer}`)
    );
  if (only === undefined) return refusePod('pod', 'the pod has no container');
  if (others.length === 0) return only;
  return refusePod(
    'pod',
    `the pod has ${containers.length} containers, and nobody says which is the agent's`,
    'name it',
  );
}

function podFields(spec: V1PodSpec, options: SupervisorOptions, groupOwned: boolean): Partial<V1PodSpec> {
  const { identity, topology, binaryIdentity, graceSeconds, hostUsers } = options;
  const least = graceSeconds + END_SECONDS;
  // Every container says for itself who it is.
  const { runAsUser: _, runAsGroup: __, runAsNonRoot: ___, ...shared } = spec.securityContext ?? {};
  return {
    securityContext: {
      ...shared,
      seccompProfile: { type: 'RuntimeDefault' },
      ...(groupOwned &&
        identity.kind === 'ids' && { fsGroup: identity.gid.value, fsGroupChangePolicy: 'OnRootMismatch' }),
    },
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: Math.max(spec.terminationGracePeriodSeconds ?? 0, least),
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...(topology === 'sidecar' && binaryIdentity === 'sidecar' && { shareProcessNamespace: true }),
    ...(hostUsers !== undefined && { hostUsers }),
  };
}
