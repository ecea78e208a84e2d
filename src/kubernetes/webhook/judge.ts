/** What becomes of a pod that asks for castellan, but for what has to be asked: whether one does, and the changed pod. Pure. */
import type { V1Pod, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { DEFAULT_BINARY_IDENTITY } from '../../config/pod.ts';
import { CastellanError } from '../../errors.ts';
import { at } from '../../lib/json.ts';
import { parseIdBlock } from '../id-blocks.ts';
import {
  type NamespaceFacts,
  type PodIdentity,
  resolvePodIdentity,
  UID_RANGE_ANNOTATION,
} from '../identity.ts';
import { injectSupervisor } from '../inject.ts';
import { isReservedName, METADATA_PREFIX } from '../layout.ts';
import { withoutNulls } from '../plain.ts';
import { SECRET_KEYS } from '../read-supervision.ts';
import { isReadable, schemaFindings } from '../schema.ts';
import type { SupervisorOptions } from '../supervisor.ts';
import { withoutMountedToken } from './admitted.ts';
import { asksForCastellan, type PodChoices, readChoices, withoutChoices } from './choices.ts';
import type { WebhookConfiguration } from './configuration.ts';
import { type JsonValue, type PatchOperation, patchBetween } from './json-patch.ts';
import type { AdmissionReview } from './review.ts';

/** More have no use, and each of them is walked several times. */
const MAX_CONTAINERS = 100;
/** What a kubelet shows of a pod that it has from a file. */
const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';

export type SpecifiedPod = V1Pod & { readonly spec: V1PodSpec };

/**
 * The pod of a review that castellan is to be put into. Left alone are pods that do not ask, what may still be changed of a running pod,
 * and all that tells only a pod's name (exec, attach, port-forward): who may do that, RBAC says.
 * @throws CastellanError `manifest_invalid` for a pod that is none
 */
export function podToChange({ request }: AdmissionReview): SpecifiedPod | undefined {
  if (!isAboutPods(request, '') || request.operation !== 'CREATE') return undefined;
  const annotations = annotationsOf(request.object);
  if (!asksForCastellan(annotations)) return undefined;
  if (at(annotations, MIRROR_ANNOTATION) !== undefined)
    throw refused('a static pod is started by its kubelet, whatever is changed here');
  return podOf(request.kind, request.object);
}

/** Whether a review is about pods, or a subresource of theirs. */
export function isAboutPods({ resource, subResource }: AdmissionReview['request'], which: string): boolean {
  return resource.group === '' && resource.resource === 'pods' && subResource === which;
}

/** Of an object of any shape. */
export function annotationsOf(object: unknown): Readonly<Record<string, unknown>> {
  const annotations = at(object, 'metadata', 'annotations');
  return isRecord(annotations) ? annotations : {};
}

/**
 * The pod, with fields of the kinds that everything behind this relies on, and none without a value.
 * @throws CastellanError `manifest_invalid` for a pod that is none
 */
export function podOf({ kind, version }: AdmissionReview['request']['kind'], object: unknown): SpecifiedPod {
  if (kind !== 'Pod' || version !== 'v1') throw refused(`${version} ${kind} is no v1 Pod`);
  const value = withoutNulls(object);
  const spec = at(value, 'spec');
  const containers = ['containers', 'initContainers', 'ephemeralContainers'].map(
    (key) => at(spec, key) ?? [],
  );
  if (containers.flat().length > MAX_CONTAINERS)
    throw refused(`the pod has more than ${MAX_CONTAINERS} containers`);
  const problem = schemaFindings(value, 'V1Pod').find((finding) => !isReadable(finding));
  if (problem !== undefined) throw refused(`${problem.path} of the pod: ${problem.why}`);
  if (!isRecord(spec)) throw refused('the pod has no spec');
  return value as SpecifiedPod;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a pod chooses. @throws CastellanError `manifest_invalid` */
export function choicesOf(pod: V1Pod, { supervisor, podsMayChoose }: WebhookConfiguration): PodChoices {
  return readChoices(pod.metadata?.annotations ?? {}, podsMayChoose, { topology: supervisor.topology });
}

/** Whether the namespace has to be asked for a pod. */
export function needsNamespace({ identity }: PodChoices, { ids }: WebhookConfiguration): boolean {
  return identity !== undefined || ids.uid === undefined || ids.gid === undefined;
}

/**
 * The operations that put castellan into the pod; none where it is in it.
 * @throws CastellanError `manifest_invalid`, `identity_invalid`
 */
export function changePod(
  pod: SpecifiedPod,
  choices: PodChoices,
  configuration: WebhookConfiguration,
  namespace: NamespaceFacts,
): readonly PatchOperation[] {
  const { annotations = {} } = pod.metadata ?? {};
  const bare = unchosen({ ...pod, spec: withoutMountedToken(pod.spec) });
  const supervised = injectSupervisor(bare, optionsOf(pod.spec, choices, configuration, namespace));
  const changed = {
    ...pod,
    metadata: {
      ...supervised.metadata,
      annotations: { ...annotations, ...supervised.metadata?.annotations },
    },
    spec: supervised.spec,
  };
  return patchBetween(jsonOf(pod), jsonOf(changed));
}

/** The pod as it would be had somebody else chosen the same. */
export function unchosen({ metadata, spec }: SpecifiedPod): V1PodTemplateSpec {
  return { metadata: { ...metadata, annotations: withoutChoices(metadata?.annotations ?? {}) }, spec };
}

/** A pod may choose only out of the block that OpenShift has set aside for its namespace. */
function identityFor(
  { identity }: PodChoices,
  { ids }: WebhookConfiguration,
  namespace: NamespaceFacts,
): PodIdentity {
  if (identity === undefined) return resolvePodIdentity(ids, namespace);
  const source = `${METADATA_PREFIX}identity`;
  if (namespace.kind !== 'read')
    throw refused(`the namespace cannot be asked whether the pod may choose ${source}`);
  const { [UID_RANGE_ANNOTATION]: range = '' } = namespace.annotations;
  const { block, problem } = parseIdBlock(range);
  if (block === undefined)
    throw refused(`${source} has to lie in the namespace’s ${UID_RANGE_ANNOTATION}, which ${problem}`);
  for (const id of [identity.uid, identity.gid])
    if (id !== undefined && (id < block.start || id > block.end))
      throw refused(`${id} of ${source} is outside of the namespace’s ${block.start} to ${block.end}`);
  // OpenShift has given the pod its namespace's group by now.
  const { gid } =
    identity.gid === undefined
      ? resolvePodIdentity(ids, namespace)
      : { gid: { value: identity.gid, source } };
  return {
    kind: 'ids',
    uid: { value: identity.uid, source },
    gid,
  };
}

/**
 * How castellan is to be put into a pod that chooses so.
 * @throws CastellanError `manifest_invalid`, `identity_invalid`
 */
export function optionsOf(
  spec: V1PodSpec,
  choices: PodChoices,
  configuration: WebhookConfiguration,
  namespace: NamespaceFacts,
): SupervisorOptions {
  const { supervisor } = configuration;
  const { topology = supervisor.topology, policy, workdir = supervisor.workdir } = choices;
  const usual = topology === supervisor.topology ? supervisor.binaryIdentity : DEFAULT_BINARY_IDENTITY;
  return {
    ...supervisor,
    identity: identityFor(choices, configuration, namespace),
    topology,
    binaryIdentity: choices.binaryIdentity ?? usual,
    workdir,
    agentContainer: choices.container,
    policy: policy === undefined ? supervisor.policy : { ...supervisor.policy, name: policy },
    secrets: { ...supervisor.secrets, ...chosenSecrets(choices) },
    seed: choices.seed ? seedOf(spec, choices, workdir) : undefined,
  };
}

function chosenSecrets({ credentials, inferenceRoutes }: PodChoices): SupervisorOptions['secrets'] {
  return {
    ...(credentials !== undefined && {
      credentials: { name: credentials, key: SECRET_KEYS.credentials },
    }),
    ...(inferenceRoutes !== undefined && {
      inferenceRoutes: { name: inferenceRoutes, key: SECRET_KEYS.inferenceRoutes },
    }),
  };
}

/** The volume that the agent's container has at its working directory, all of which is to be filled. */
function seedOf(
  { containers }: V1PodSpec,
  { container }: PodChoices,
  workdir: string,
): SupervisorOptions['seed'] {
  const [agent, ...others] = containers.filter(({ name }) =>
    container === undefined ? !isReservedName(name) : name === container,
  );
  // That the agent's is none or one of several is told where it is chosen.
  if (agent === undefined || others.length > 0) return undefined;
  const at = agent.volumeMounts?.find(({ mountPath }) => mountPath === workdir);
  if (at === undefined) throw refused(`there is no volume at ${workdir} to be seeded`);
  if (at.readOnly || at.subPath !== undefined || at.subPathExpr !== undefined)
    throw refused(`the volume at ${workdir} cannot be seeded: it is mounted read-only, or a part of it`);
  return { volume: at.name, from: workdir };
}

/** Without the keys that have no value, as it would be written. */
export function jsonOf(value: unknown): JsonValue {
  return JSON.parse(JSON.stringify(value)) as JsonValue;
}

export function refused(message: string, facts: { object?: string; remedy?: string } = {}): CastellanError {
  return new CastellanError('manifest_invalid', message, {
    step: 'kubernetes/webhook',
    object: 'pod',
    ...facts,
  });
}
