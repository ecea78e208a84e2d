/**
 * Puts castellan into a pod. The same function makes a pod of a request (render.ts) and changes one that somebody else wrote, so
 * that it refuses rather than guesses: whatever it gives back passes validate.ts.
 */
import type { V1Container, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { CastellanError } from '../errors.ts';
import { at } from '../lib/json.ts';
import { superviseContainer } from './agent-container.ts';
import { annotate } from './annotations.ts';
import { fenceCompanion } from './companions.ts';
import { refuseProxyIds } from './identity.ts';
import { RESERVED_PREFIX, refusePod } from './layout.ts';
import { castellanVolumes } from './mounts.ts';
import { fenceContainer, installContainer, networkContainer } from './own-containers.ts';
import { podSecurityViolations } from './pod-security.ts';
import { differenceFrom, hasCastellan, withoutCastellan } from './recognise.ts';
import { needsFsGroup, refuseConflicts, refuseOptions } from './refusals.ts';
import { supervisionFindings } from './rules-supervision.ts';
import { seedContainer } from './seed-container.ts';
import { readSupervisedPod } from './supervised-pod.ts';
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
  refuseDifference(pod, spec, options);
  return pod;
}

const RESTORE =
  'take castellan’s parts out and let it put in its own; no other webhook may change them after it';

/** Refuses a pod that castellan, taken out and put in again, does not give once more. */
function refuseDifference(pod: V1PodTemplateSpec, spec: V1PodSpec, options: SupervisorOptions): void {
  const found = `the pod has parts of castellan’s (named ${RESERVED_PREFIX}…, or running it) that are not what castellan would put there`;
  const { agents } = readSupervisedPod(spec);
  if (agents.length !== 1)
    refusePod(
      'spec.containers',
      `${found}: it supervises ${agents.length} containers, where it takes one`,
      RESTORE,
    );
  const bare = withoutCastellan(pod, spec);
  let built: V1PodTemplateSpec;
  try {
    built = build(bare, bare.spec, options);
  } catch (error) {
    if (!(error instanceof CastellanError)) throw error;
    refusePod(error.object ?? 'pod', `${found}: ${error.message}`, error.remedy);
  }
  const path = differenceFrom(built.spec, spec, 'spec') ?? differenceFrom(built, pod);
  if (path === undefined) return;
  refusePod(path, `${found}: ${path}${containerAt(path, built, pod)}`, RESTORE);
}

/** Which container a path is in, where it is in one: whose place it is, and who has it. */
function containerAt(path: string, expected: V1PodTemplateSpec, given: V1PodTemplateSpec): string {
  const [, list, index] = /^spec\.(\w*[cC]ontainers)\[(\d+)\]/.exec(path) ?? [];
  if (list === undefined || index === undefined) return '';
  const nameIn = (pod: V1PodTemplateSpec) => at(pod, 'spec', list, index, 'name');
  const [wanted, found] = [nameIn(expected), nameIn(given)];
  if (wanted === found) return ` of container ${found}`;
  if (found === undefined) return `: container ${wanted} is missing`;
  return wanted === undefined ? ` is container ${found}` : ` is container ${found} in the place of ${wanted}`;
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
