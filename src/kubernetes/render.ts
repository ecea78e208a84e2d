/** A request to the objects that stand for it: a bare pod is made, and castellan is put into it as into any other. Pure. */
import type {
  V1Container,
  V1PersistentVolumeClaimSpec,
  V1PodTemplateSpec,
  V1Volume,
} from '@kubernetes/client-node';
import { describePodSecurity } from './annotations.ts';
import { literal } from './environment.ts';
import { type NamespaceFacts, type PodIdentity, resolvePodIdentity } from './identity.ts';
import { injectSupervisor } from './inject.ts';
import { POLICY_KEY } from './layout.ts';
import { describeRbac, rbacManifests, serviceAccountOf } from './rbac.ts';
import type { RequestedVolume, SandboxRequest, VolumeSource } from './request.ts';
import { describeScc, type RequiredScc, requiredScc, sccManifest } from './scc.ts';
import type { KeyOf, SupervisorOptions } from './supervisor.ts';
import type { Document } from './yaml-text.ts';

export const RENDERED_KINDS = ['Pod', 'Sandbox'] as const;
export type RenderedKind = (typeof RENDERED_KINDS)[number];

export interface Rendered {
  readonly documents: readonly Document[];
  /** What whoever applies them should know, a line each. */
  readonly remarks: readonly string[];
}

const AGENT = 'agent';
const WORKSPACE = 'workspace';

/**
 * The objects of a request. `withScc` adds the SecurityContextConstraints that the pod needs, where it needs its own, and who may use them.
 * @throws CastellanError `manifest_invalid`, `identity_invalid`
 */
export function renderSandbox(
  request: SandboxRequest,
  facts: { readonly namespace: NamespaceFacts; readonly kind: RenderedKind; readonly withScc: boolean },
): Rendered {
  const { namespace, kind, withScc } = facts;
  const identity: PodIdentity =
    request.identity === 'platform' ? { kind: 'platform' } : resolvePodIdentity(request.ids, namespace);
  const policy = policyKey(request);
  const pod = injectSupervisor(barePod(request), supervisorOptions(request, identity, policy));
  const scc = requiredScc(pod);
  const metadata = {
    name: request.name,
    ...(request.namespace !== undefined && { namespace: request.namespace }),
  };
  const documents: Document[] = [
    ...(withScc ? sccObjects(request, pod, scc) : []),
    ...policyObjects(request, policy, metadata),
    kind === 'Pod' ? podObject(pod, metadata) : sandboxObject(request, pod, metadata),
  ];
  return { documents, remarks: remarksOf(request, pod, scc, withScc) };
}

/**
 * By all that decides what it allows: a cluster has it once, and under one name a request would take rights from the pods of another, or
 * give them more. And not as the chart names its own, whose `users` it would take.
 */
function sccName({ topology, binaryIdentity, castellan }: SandboxRequest): string {
  const identifies = topology === 'sidecar' && binaryIdentity === 'sidecar';
  const words = [
    topology,
    ...(identifies ? ['identifying'] : []),
    ...(castellan.install === 'copy' ? [] : ['image']),
  ];
  return `castellan-render-${words.join('-')}`;
}

/** What admits the pod on OpenShift, and lets its service account use it; the latter takes a namespace to be in. */
function sccObjects(request: SandboxRequest, pod: V1PodTemplateSpec, scc: RequiredScc): readonly Document[] {
  const { namespace } = request;
  const name = scc.name === 'custom' ? sccName(request) : scc.name;
  return [
    ...(scc.name === 'custom' ? [sccManifest(name, scc.needs)] : []),
    ...(scc.name === 'restricted-v2' || namespace === undefined
      ? []
      : rbacManifests(name, serviceAccountOf(pod), namespace)),
  ];
}

function remarksOf(
  request: SandboxRequest,
  pod: V1PodTemplateSpec,
  scc: RequiredScc,
  withScc: boolean,
): string[] {
  const { annotations = {} } = pod.metadata ?? {};
  return [
    `sandbox uid ${annotations['castellan/sandbox-uid']}, gid ${annotations['castellan/sandbox-gid']}`,
    `Pod Security: ${describePodSecurity(pod)}`,
    `Namespace: pod-security.kubernetes.io/enforce: ${annotations['castellan/pod-security']}, where Pod Security is enforced`,
    `OpenShift SCC: ${describeScc(scc)}`,
    `RBAC: ${describeRbac(pod, scc, sccName(request))}`,
    ...(withScc && scc.name !== 'restricted-v2' && request.namespace === undefined
      ? ['Role and RoleBinding are left out, for the request says no namespace']
      : []),
  ];
}

function supervisorOptions(request: SandboxRequest, identity: PodIdentity, policy: KeyOf): SupervisorOptions {
  const { castellan, workspace, workdir } = request;
  return {
    topology: request.topology,
    identity,
    proxyUid: request.proxyUid,
    image: castellan.image,
    pullPolicy: castellan.pullPolicy,
    install: castellan.install,
    resources: castellan.resources,
    policy,
    secrets: request.secrets,
    workdir,
    agentContainer: undefined,
    companions: 'refused',
    binaryIdentity: request.binaryIdentity,
    nativeSidecar: request.nativeSidecar,
    upstreamProxy: request.upstreamProxy,
    healthPort: request.healthPort,
    metricsPort: request.metricsPort,
    reload: request.reload,
    graceSeconds: request.graceSeconds,
    readOnlyRoot: request.readOnlyRoot,
    hostUsers: request.hostUsers,
    appArmor: request.appArmor,
    seed: workspace.seed ? { volume: WORKSPACE, from: workdir } : undefined,
  };
}

function policyKey({ name, policy }: SandboxRequest): KeyOf {
  return policy.kind === 'text' ? { name: `${name}-policy`, key: POLICY_KEY } : policy.from;
}

function policyObjects({ policy }: SandboxRequest, { name, key }: KeyOf, metadata: Document): Document[] {
  if (policy.kind !== 'text') return [];
  return [
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { ...metadata, name }, data: { [key]: policy.text } },
  ];
}

/** The pod as it would be without castellan. */
function barePod(request: SandboxRequest): V1PodTemplateSpec {
  const { labels, annotations, workspace, volumes, tolerations, nodeSelector, pullSecrets } = request;
  const mounted: readonly RequestedVolume[] = [
    { name: WORKSPACE, mount: request.workdir, readOnly: false, source: workspace.source },
    ...volumes,
  ];
  return {
    metadata: {
      ...(Object.keys(labels).length > 0 && { labels: { ...labels } }),
      ...(Object.keys(annotations).length > 0 && { annotations: { ...annotations } }),
    },
    spec: {
      containers: [agentContainer(request, mounted)],
      volumes: mounted.map(({ name, source, readOnly }) => ({ name, ...volumeSource(source, readOnly) })),
      ...(request.serviceAccount !== undefined && { serviceAccountName: request.serviceAccount }),
      ...(request.runtimeClass !== undefined && { runtimeClassName: request.runtimeClass }),
      ...(request.priorityClass !== undefined && { priorityClassName: request.priorityClass }),
      ...(Object.keys(nodeSelector).length > 0 && { nodeSelector: { ...nodeSelector } }),
      ...(tolerations.length > 0 && { tolerations: [...tolerations] }),
      ...(pullSecrets.length > 0 && { imagePullSecrets: pullSecrets.map((name) => ({ name })) }),
    },
  };
}

function agentContainer(request: SandboxRequest, mounted: readonly RequestedVolume[]): V1Container {
  const { image, pullPolicy, command, env, resources } = request;
  return {
    name: AGENT,
    image,
    ...(pullPolicy !== undefined && { imagePullPolicy: pullPolicy }),
    command: command.map(literal),
    env: Object.entries(env).map(([name, value]) => ({ name, value: literal(value) })),
    ...(resources !== undefined && { resources }),
    volumeMounts: mounted.map(({ name, mount, readOnly }) => ({
      name,
      mountPath: mount,
      ...(readOnly && { readOnly }),
    })),
  };
}

function volumeSource(source: VolumeSource, readOnly: boolean): Omit<V1Volume, 'name'> {
  switch (source.kind) {
    case 'empty-dir':
      return { emptyDir: source.sizeLimit === undefined ? {} : { sizeLimit: source.sizeLimit } };
    case 'claim':
      return { persistentVolumeClaim: { claimName: source.claim, ...(readOnly && { readOnly }) } };
    case 'claim-template':
      return { ephemeral: { volumeClaimTemplate: { spec: claimSpec(source) } } };
    case 'config-map':
      return { configMap: { name: source.configMap } };
  }
}

function claimSpec({
  size,
  storageClass,
}: Extract<VolumeSource, { kind: 'claim-template' }>): V1PersistentVolumeClaimSpec {
  return {
    accessModes: ['ReadWriteOnce'],
    ...(storageClass !== undefined && { storageClassName: storageClass }),
    resources: { requests: { storage: size } },
  };
}

function podObject({ metadata, spec }: V1PodTemplateSpec, named: Document): Document {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { ...named, ...metadata }, spec };
}

/**
 * agents.x-k8s.io/v1beta1. Its controller makes the claims, names their volumes as the templates, and adds them to the pod by itself.
 */
function sandboxObject(request: SandboxRequest, pod: V1PodTemplateSpec, metadata: Document): Document {
  const templates = [{ name: WORKSPACE, source: request.workspace.source }, ...request.volumes].flatMap(
    ({ name, source }) =>
      source.kind === 'claim-template' ? [{ metadata: { name }, spec: claimSpec(source) }] : [],
  );
  const names = templates.map((template) => template.metadata.name);
  const volumes = (pod.spec?.volumes ?? []).filter(({ name }) => !names.includes(name));
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { ...metadata, ...(pod.metadata?.labels !== undefined && { labels: pod.metadata.labels }) },
    spec: {
      podTemplate: { metadata: pod.metadata, spec: { ...pod.spec, volumes } },
      ...(templates.length > 0 && { volumeClaimTemplates: templates }),
    },
  };
}
