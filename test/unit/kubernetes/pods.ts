/** Pods and requests to start from, and requests at random. */
import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import { resolvePodIdentity } from '../../../src/kubernetes/identity.ts';
import { injectSupervisor } from '../../../src/kubernetes/inject.ts';
import type { SandboxRequest, VolumeSource } from '../../../src/kubernetes/request.ts';
import type { SupervisorOptions } from '../../../src/kubernetes/supervisor.ts';
import type { Random } from '../random.ts';

export const OPTIONS: SupervisorOptions = {
  topology: 'sidecar',
  identity: resolvePodIdentity({ uid: 2000, gid: 3000 }, { kind: 'unknown' }),
  proxyUid: 1337,
  image: 'castellan:1',
  pullPolicy: undefined,
  install: 'copy',
  policy: { name: 'policies', key: 'policy.yaml' },
  secrets: { credentials: { name: 'keys', key: 'credentials.yaml' } },
  workdir: '/sandbox',
  agentContainer: undefined,
  companions: 'refused',
  binaryIdentity: 'process',
  nativeSidecar: true,
  upstreamProxy: undefined,
  healthPort: undefined,
  metricsPort: undefined,
  reload: 'never',
  graceSeconds: 10,
  readOnlyRoot: false,
  hostUsers: undefined,
  appArmor: 'Unconfined',
  seed: undefined,
  resources: undefined,
};

/** As its author wrote it. */
export const BARE: V1PodTemplateSpec = {
  metadata: { labels: { app: 'agent' } },
  spec: {
    containers: [
      {
        name: 'main',
        image: 'agent:1',
        command: ['/bin/agent'],
        args: ['--work'],
        env: [{ name: 'MODE', value: 'fast' }],
        volumeMounts: [{ name: 'work', mountPath: '/sandbox' }],
      },
    ],
    volumes: [{ name: 'work', persistentVolumeClaim: { claimName: 'work' } }],
  },
};

/** A supervised pod of one's own, to be broken. */
export function supervised(options: Partial<SupervisorOptions> = {}): V1PodTemplateSpec {
  return structuredClone(injectSupervisor(structuredClone(BARE), { ...OPTIONS, ...options }));
}

const REQUEST: SandboxRequest = {
  name: 'agent',
  namespace: undefined,
  labels: {},
  annotations: {},
  image: 'agent:1',
  pullPolicy: undefined,
  pullSecrets: [],
  command: ['/bin/agent'],
  env: {},
  workdir: '/sandbox',
  topology: 'sidecar',
  identity: 'ids',
  ids: {},
  proxyUid: 1337,
  castellan: { image: 'castellan:1', pullPolicy: undefined, install: 'copy', resources: undefined },
  policy: { kind: 'text', text: 'version: 1\n' },
  secrets: {},
  resources: undefined,
  workspace: { source: { kind: 'empty-dir', sizeLimit: undefined }, seed: false },
  volumes: [],
  serviceAccount: undefined,
  runtimeClass: undefined,
  priorityClass: undefined,
  nodeSelector: {},
  tolerations: [],
  binaryIdentity: 'process',
  nativeSidecar: true,
  upstreamProxy: undefined,
  healthPort: undefined,
  metricsPort: undefined,
  reload: 'never',
  graceSeconds: 10,
  readOnlyRoot: false,
  hostUsers: undefined,
  appArmor: 'Unconfined',
};

/** Any request at all, also such that are refused. */
export function randomRequest(random: Random): SandboxRequest {
  const flag = () => random.below(2) === 0;
  const maybe = <T>(value: () => T): T | undefined => (flag() ? value() : undefined);
  const id = () => random.pick([1, 999, 1000, 1337, 2_000_000_000, 2_147_483_647]);
  const source = (): VolumeSource =>
    random.pick<VolumeSource>([
      { kind: 'empty-dir', sizeLimit: '1Gi' },
      { kind: 'claim', claim: 'claim' },
      { kind: 'claim-template', size: '2Gi', storageClass: undefined },
      { kind: 'config-map', configMap: 'settings' },
    ]);
  const text = () =>
    random.pick(['plain', '$(HOME)', '$$', 'yes', '1e3', 'a: b', '- c', 'ü\n\u2028', '#', '"']);
  const key = (name: string) => ({ name, key: 'file' });
  return {
    ...REQUEST,
    labels: flag() ? { 'a.b/c': 'yes' } : {},
    annotations: flag() ? { note: text() } : {},
    command: ['/bin/agent', ...Array.from({ length: random.below(3) }, text)],
    env: Object.fromEntries(
      Array.from({ length: random.below(3) }, (_, index) => [`NODE_V${index}`, text()]),
    ),
    workdir: random.pick(['/sandbox', '/work/$(HOME)', '/etc', '/run/castellan-pod/x', '/home/agent']),
    topology: random.pick(['combined', 'sidecar']),
    identity: random.pick(['ids', 'ids', 'ids', 'platform']),
    ids: { uid: maybe(id), gid: maybe(id) },
    proxyUid: random.pick([1337, 1337, 1, 2_147_483_647]),
    castellan: { ...REQUEST.castellan, install: random.pick(['copy', 'image_volume']) },
    policy: flag() ? REQUEST.policy : { kind: 'config-map', from: key('policies') },
    secrets: {
      ...(flag() && { credentials: key('keys') }),
      ...(flag() && { inferenceRoutes: key('routes') }),
      ...(random.below(4) === 0 && { upstreamProxyAuth: key('proxy') }),
    },
    resources: maybe(() => ({ limits: { cpu: '2', memory: '4Gi' } })),
    workspace: { source: source(), seed: flag() },
    volumes: Array.from({ length: random.below(3) }, (_, index) => ({
      name: `v${index}`,
      mount: random.pick(['/data', `/models/${index}`, '/tmp', '/opt', '/var/run/castellan-pod', '/proc/1']),
      readOnly: flag(),
      source: source(),
    })),
    binaryIdentity: random.pick(['process', 'process', 'sidecar', 'none']),
    nativeSidecar: flag(),
    upstreamProxy: maybe(() => ({
      url: 'http://proxy:3128',
      noProxy: ['.example'],
      connectByHostname: flag(),
      allowInsecureAuth: flag(),
    })),
    healthPort: maybe(() => 9000),
    metricsPort: maybe(() => 9001),
    reload: random.pick(['never', 'never', 'watch']),
    graceSeconds: random.pick([0, 10, 3600]),
    readOnlyRoot: flag(),
    hostUsers: maybe(flag),
    appArmor: maybe(() => random.pick(['Unconfined', 'RuntimeDefault', 'Localhost/agent'])),
  };
}
