/** Ways to install the chart, each with what it renders in test/vectors/helm. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';

export const CHART = join(import.meta.dirname, '../../deploy/helm/castellan');
export const GOLDENS = join(import.meta.dirname, '../vectors/helm');
/** Of the chart that the goldens were rendered from. */
export const DIGEST = join(GOLDENS, 'chart.sha256');

export interface HelmCase {
  readonly name: string;
  readonly values: Readonly<Record<string, unknown>>;
  readonly kubeVersion: string;
  readonly apiVersions?: readonly string[];
  /** What is in the cluster, by `KIND/NAMESPACE/NAME`. */
  readonly lookup?: Readonly<Record<string, unknown>>;
}

const CERTIFICATES = { source: 'certManager' };
export const RELEASE = 'agents';
export const NAMESPACE = 'castellan-system';

export const HELM_CASES: readonly HelmCase[] = [
  { name: 'default', values: {}, kubeVersion: 'v1.33.2' },
  {
    name: 'old-cluster',
    values: { certificate: { source: 'secret', secret: { name: 'hook', caBundle: 'PEM' } } },
    kubeVersion: 'v1.22.17',
  },
  {
    // Numbers beyond a million are what templates turn into 1.00068e+09.
    name: 'large-ids',
    values: {
      identity: { uid: 1_000_680_000, gid: 2_147_483_647 },
      supervisor: { topology: 'combined', proxyUid: 2_000_000_001, credentials: 'keys', hostUsers: false },
      certificate: CERTIFICATES,
      policies: [
        { name: 'castellan-policy', namespace: 'team-a', policy: 'version: 1\nnetwork_policies: {}\n' },
        { name: 'other', policy: 'version: 1' },
      ],
    },
    kubeVersion: 'v1.30.1-gke.100',
  },
  {
    name: 'openshift',
    values: {
      certificate: { source: 'openshift' },
      supervisor: { podsMayChoose: ['topology', 'identity'], companions: 'fenced', install: 'image_volume' },
      openshift: { scc: { create: true, serviceAccounts: ['team-a:agents', 'team-b:agents'] } },
    },
    kubeVersion: 'v1.33.0',
    apiVersions: ['security.openshift.io/v1'],
  },
  {
    name: 'openshift-identifying-sidecar',
    values: {
      certificate: { source: 'openshift' },
      supervisor: { binaryIdentity: 'sidecar' },
      openshift: { scc: { create: true } },
    },
    kubeVersion: 'v1.33.0',
    apiVersions: ['security.openshift.io/v1'],
  },
  {
    name: 'openshift-without-capabilities',
    values: {
      certificate: { source: 'openshift' },
      identity: { uid: 1_000_680_000 },
      supervisor: { binaryIdentity: 'none' },
      openshift: { scc: { create: true } },
    },
    kubeVersion: 'v1.28.3',
    apiVersions: ['security.openshift.io/v1'],
  },
  {
    name: 'everything-said',
    values: {
      identity: { uid: 20_001, gid: 20_001 },
      certificate: CERTIFICATES,
      supervisor: {
        credentials: 'keys',
        inferenceRoutes: 'routes',
        hostUsers: false,
        upstreamProxy: {
          url: 'http://proxy.corp.example:3128',
          noProxy: ['.corp.example', '10.0.0.0/8'],
          authSecret: 'proxy',
          authKey: 'password',
          allowInsecureAuth: true,
          connectByHostname: true,
        },
        healthPort: 9000,
        metricsPort: 9001,
        reload: 'watch',
        appArmor: 'Localhost/castellan',
        resources: { limits: { memory: '1Gi', cpu: 2 } },
      },
    },
    kubeVersion: 'v1.33.2',
  },
  {
    name: 'guarded',
    values: {
      nameOverride: 'guard',
      image: {
        repository: 'registry.example:5000/castellan',
        digest: `sha256:${'0a'.repeat(32)}`,
        pullPolicy: 'Always',
      },
      imagePullSecrets: [{ name: 'registry' }],
      identity: { uid: 20_001, gid: 20_001 },
      certificate: {
        source: 'certManager',
        certManager: { issuerRef: { kind: 'ClusterIssuer', name: 'internal' } },
      },
      webhook: {
        clientCaSecret: 'api-servers',
        replicas: 3,
        ipv6: true,
        matchConditions: false,
        reinvocationPolicy: 'Never',
        namespaceLabels: { 'castellan/agents': 'yes' },
        excludedNamespaces: ['kube-system', 'openshift-etcd'],
        nodeSelector: { 'kubernetes.io/os': 'linux' },
        tolerations: [{ key: 'control-plane', operator: 'Exists' }],
        affinity: { nodeAffinity: {} },
        priorityClassName: 'system-cluster-critical',
        podAnnotations: { team: 'security' },
        podLabels: { team: 'security' },
      },
      serviceAccount: { create: false, name: 'hook' },
      podDisruptionBudget: { enabled: false },
      networkPolicy: { enabled: true, apiServerBlocks: ['10.0.0.0/28', 'fd00::/64'] },
    },
    kubeVersion: 'v1.31.0',
  },
];

/** What Kubernetes' tools read: `yes` is no text there, and 0440 no decimal number. */
export const YAML = { version: '1.1' } as const;

/** The objects of a rendering: certificates and digests, which differ each time, stand for themselves. */
export function objectsOf(text: string): Record<string, unknown>[] {
  return parseAllDocuments(text, YAML).flatMap((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    const object = document.toJS();
    return object === null ? [] : [JSON.parse(steady(JSON.stringify(object)))];
  });
}

function steady(json: string): string {
  return json.replaceAll(/"LS0tLS1[^"]*"/g, '"PEM"').replaceAll(/"[0-9a-f]{64}"/g, '"SHA256"');
}

/** By kind and name, however they came. */
export function sorted(objects: readonly Record<string, unknown>[]): Record<string, unknown>[] {
  const nameOf = ({ kind, metadata }: Record<string, unknown>) =>
    `${kind} ${Reflect.get(metadata as object, 'namespace') ?? ''} ${Reflect.get(metadata as object, 'name')}`;
  return objects.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
}

export function goldenText(objects: readonly Record<string, unknown>[]): string {
  return sorted(objects)
    .map((object) => stringify(object, { ...YAML, lineWidth: 0 }))
    .join('---\n');
}

/** Of everything that a rendering depends on. */
export function chartDigest(): string {
  const digest = createHash('sha256').update(JSON.stringify(HELM_CASES));
  for (const file of readdirSync(CHART, { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort())
    digest.update(file.slice(CHART.length)).update(readFileSync(file));
  return digest.digest('hex');
}
