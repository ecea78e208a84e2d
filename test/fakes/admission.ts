/** Reviews of pods as API servers send them: what each version of Kubernetes has in them, by its published API. */

export interface ReviewCase {
  readonly version: string;
  readonly apiVersion: 'admission.k8s.io/v1' | 'admission.k8s.io/v1beta1';
  /** Fields of a pod that this version fills in, or that only it has. */
  readonly spec: Readonly<Record<string, unknown>>;
  readonly container: Readonly<Record<string, unknown>>;
}

const TOKEN_PLACE = '/var/run/secrets/kubernetes.io/serviceaccount';
const PROJECTED_TOKEN = {
  name: 'kube-api-access-x7k2p',
  projected: {
    sources: [
      { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      {
        downwardAPI: {
          items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
        },
      },
    ],
    defaultMode: 420,
  },
};
const projected = {
  volumes: [PROJECTED_TOKEN],
  mounts: [{ name: PROJECTED_TOKEN.name, readOnly: true, mountPath: TOKEN_PLACE }],
};

export const REVIEW_CASES: readonly ReviewCase[] = [
  {
    version: '1.19',
    apiVersion: 'admission.k8s.io/v1beta1',
    spec: {
      volumes: [
        { name: 'default-token-q8zxw', secret: { secretName: 'default-token-q8zxw', defaultMode: 420 } },
      ],
    },
    container: { volumeMounts: [{ name: 'default-token-q8zxw', readOnly: true, mountPath: TOKEN_PLACE }] },
  },
  {
    version: '1.25',
    apiVersion: 'admission.k8s.io/v1',
    spec: { volumes: projected.volumes, preemptionPolicy: 'PreemptLowerPriority' },
    container: { volumeMounts: projected.mounts },
  },
  {
    version: '1.29',
    apiVersion: 'admission.k8s.io/v1',
    spec: { volumes: projected.volumes, schedulingGates: [{ name: 'example.com/quota' }] },
    container: {
      volumeMounts: projected.mounts,
      resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'NotRequired' }],
    },
  },
  {
    version: '1.33',
    apiVersion: 'admission.k8s.io/v1',
    spec: {
      volumes: projected.volumes,
      resources: { limits: { cpu: '2' } },
      fieldOfTomorrow: { deep: [1, { a: null }] },
    },
    container: {
      volumeMounts: projected.mounts.map((mount) => ({ ...mount, recursiveReadOnly: 'Disabled' })),
      fieldOfTomorrow: true,
    },
  },
];

/** The most recent, where it does not matter which. */
export const [LAST_CASE] = REVIEW_CASES.slice(-1) as [ReviewCase];

/** What OpenShift's SCC admission has put into a pod before webhooks are asked: restricted-v2 took it as it was. */
export const OPENSHIFT_CASE: ReviewCase = {
  version: '1.29 of OpenShift 4.16',
  apiVersion: 'admission.k8s.io/v1',
  spec: {
    volumes: projected.volumes,
    securityContext: {
      seLinuxOptions: { level: 's0:c26,c5' },
      fsGroup: 1_000_680_000,
      seccompProfile: { type: 'RuntimeDefault' },
    },
  },
  container: {
    volumeMounts: projected.mounts,
    securityContext: {
      capabilities: { drop: ['ALL'] },
      runAsUser: 1_000_680_000,
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
    },
  },
};

export interface PodParts {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly container?: Readonly<Record<string, unknown>>;
}

/** A pod as it is by the time that webhooks see it: with defaults, and with what admission plugins have put in. */
export function podOf({ spec, container }: ReviewCase, parts: PodParts = {}): Record<string, unknown> {
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      generateName: 'agent-6d4cf56db6-',
      namespace: 'agents',
      creationTimestamp: null,
      labels: { app: 'agent', 'pod-template-hash': '6d4cf56db6' },
      annotations: { 'castellan/inject': 'true', ...parts.annotations },
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'agent-6d4cf56db6', uid: 'a1', controller: true },
      ],
      managedFields: [
        {
          manager: 'kube-controller-manager',
          operation: 'Update',
          fieldsV1: { 'f:spec': { 'f:containers': { 'k:{"name":"agent"}': { '.': {}, 'f:image': {} } } } },
        },
      ],
    },
    spec: {
      containers: [
        {
          name: 'agent',
          image: 'registry.example/agent:1',
          command: ['/usr/bin/agent', '--work'],
          env: [{ name: 'MODE', value: 'hunter2' }],
          resources: { requests: { cpu: '1' } },
          terminationMessagePath: '/dev/termination-log',
          terminationMessagePolicy: 'File',
          imagePullPolicy: 'IfNotPresent',
          ...container,
          ...parts.container,
        },
      ],
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'ClusterFirst',
      serviceAccountName: 'default',
      serviceAccount: 'default',
      securityContext: {},
      schedulerName: 'default-scheduler',
      tolerations: [
        {
          key: 'node.kubernetes.io/not-ready',
          operator: 'Exists',
          effect: 'NoExecute',
          tolerationSeconds: 300,
        },
      ],
      priority: 0,
      enableServiceLinks: true,
      ...spec,
      ...parts.spec,
    },
    status: {},
  };
}

interface Filled {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly spec: {
    readonly containers: readonly object[];
    readonly initContainers: readonly object[];
    readonly volumes: readonly object[];
    readonly securityContext?: object;
  };
}

/** Of the API server's types: fields without a pointer, of which it writes no false. */
const PLAIN_BOOLEANS: readonly string[] = ['hostNetwork', 'hostPID', 'hostIPC', 'readOnly', 'stdin', 'tty'];

/** As the API server writes what it has read: without empty texts, and some that are false. Maps of texts are written as they are. */
function asWritten<Value>(value: Value): Value {
  if (Array.isArray(value)) return value.map(asWritten) as Value;
  if (typeof value !== 'object' || value === null) return value;
  const written = Object.entries(value).filter(
    ([key, inner]) => (inner !== '' || key === 'name') && !(inner === false && PLAIN_BOOLEANS.includes(key)),
  );
  return Object.fromEntries(written.map(([key, inner]) => [key, asWritten(inner)])) as Value;
}

/** As it is written again, after the API server's defaults, a LimitRange and OpenShift's SCC, as far as each adds to what has none. */
export function asFilledIn<Pod extends Filled>(pod: Pod): Pod {
  const probe = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 };
  const probes = ['readinessProbe', 'livenessProbe', 'startupProbe'];
  const isIn = (container: object, key: string) => Reflect.get(container, key) !== undefined;
  const filled = (container: object) => ({
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: 'IfNotPresent',
    resizePolicy: ['cpu', 'memory'].map((resourceName) => ({ resourceName, restartPolicy: 'NotRequired' })),
    ...container,
    ...Object.fromEntries(
      probes
        .filter((key) => isIn(container, key))
        .map((key) => [key, { ...probe, ...Reflect.get(container, key) }]),
    ),
    resources: {
      limits: { memory: '1Gi' },
      requests: { 'ephemeral-storage': '1Gi' },
      ...Reflect.get(container, 'resources'),
    },
  });
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      annotations: { ...pod.metadata.annotations, 'openshift.io/scc': 'castellan' },
    },
    spec: asWritten({
      ...pod.spec,
      securityContext: { ...pod.spec.securityContext, seLinuxOptions: { level: 's0:c1,c2' } },
      containers: pod.spec.containers.map(filled),
      initContainers: pod.spec.initContainers.map(filled),
      volumes: pod.spec.volumes.map((volume) =>
        'configMap' in volume
          ? { ...volume, configMap: { defaultMode: 420, ...(volume.configMap as object) } }
          : volume,
      ),
    }),
  };
}

export interface ReviewParts {
  readonly operation?: string;
  readonly subResource?: string;
  readonly kind?: Readonly<Record<string, string>>;
  readonly resource?: Readonly<Record<string, string>>;
  readonly oldObject?: unknown;
  readonly namespace?: string;
  readonly dryRun?: boolean;
}

export function reviewOf(
  { apiVersion }: ReviewCase,
  object: unknown,
  parts: ReviewParts = {},
): Record<string, unknown> {
  const kind = parts.kind ?? { group: '', version: 'v1', kind: 'Pod' };
  const resource = parts.resource ?? { group: '', version: 'v1', resource: 'pods' };
  const sub = parts.subResource === undefined ? {} : { subResource: parts.subResource };
  return {
    kind: 'AdmissionReview',
    apiVersion,
    request: {
      uid: '0df28fbd-5f5f-11e8-bc74-36e6bb280816',
      kind,
      resource,
      ...sub,
      requestKind: kind,
      requestResource: resource,
      ...(parts.subResource !== undefined && { requestSubResource: parts.subResource }),
      namespace: parts.namespace ?? 'agents',
      operation: parts.operation ?? 'CREATE',
      userInfo: {
        username: 'system:serviceaccount:kube-system:replicaset-controller',
        groups: ['system:serviceaccounts', 'system:authenticated'],
      },
      object,
      oldObject: parts.oldObject ?? null,
      dryRun: parts.dryRun ?? false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
    },
  };
}
