/** Castellan's volumes, and which of its containers sees which. */
import type { V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import { SECRET_FILE_NAMES, type SecretFileName } from '../config/secret-files.ts';
import { PLACES, POLICY_KEY, VOLUMES } from './layout.ts';
import type { SupervisorOptions } from './supervisor.ts';

const SECRETS: Readonly<Record<SecretFileName, { readonly volume: string; readonly directory: string }>> = {
  credentials: { volume: 'castellan-credentials', directory: `${PLACES.secrets}/credentials` },
  inferenceRoutes: { volume: 'castellan-inference-routes', directory: `${PLACES.secrets}/inference-routes` },
  upstreamProxyAuth: { volume: 'castellan-proxy-auth', directory: `${PLACES.secrets}/proxy-auth` },
};

/** Memory, so that nothing of a run is ever on a disk; small, for whoever fills it pays from the pod's memory. */
const STATE = { medium: 'Memory', sizeLimit: '16Mi' };
const LOG_SIZE = '1Gi';

/** The files with secrets that are given, and where the network role finds each. */
export function secretFiles({ secrets }: SupervisorOptions): readonly (readonly [SecretFileName, string])[] {
  return SECRET_FILE_NAMES.flatMap((name) => {
    const from = secrets[name];
    return from === undefined ? [] : [[name, `${SECRETS[name].directory}/${from.key}`] as const];
  });
}

export function secretMounts(options: SupervisorOptions): V1VolumeMount[] {
  return secretFiles(options).map(([name]) => ({
    name: SECRETS[name].volume,
    mountPath: SECRETS[name].directory,
    readOnly: true,
  }));
}

export const PROGRAM_MOUNT: V1VolumeMount = {
  name: VOLUMES.program,
  mountPath: PLACES.program,
  readOnly: true,
};
export const POLICY_MOUNT: V1VolumeMount = { name: VOLUMES.policy, mountPath: PLACES.policy, readOnly: true };

/** Whoever has the network role has the log. */
const LOG_MOUNT: V1VolumeMount = { name: VOLUMES.log, mountPath: PLACES.log };

/** The program's volume as containers with the agent's image see it. */
export function programMount({ install }: SupervisorOptions): V1VolumeMount {
  return install === 'copy' ? PROGRAM_MOUNT : { ...PROGRAM_MOUNT, subPath: PLACES.program.slice(1) };
}

/** What the agent's container sees of castellan's volumes. `taken` are the places that it has mounts of its own at. */
export function agentMounts(options: SupervisorOptions, taken: readonly string[]): V1VolumeMount[] {
  const { topology, readOnlyRoot } = options;
  const combined = topology === 'combined';
  const root = combined && options.identity.kind === 'ids';
  return [
    programMount(options),
    ...(combined ? [POLICY_MOUNT, ...secretMounts(options)] : [CONTROL_MOUNT]),
    ...(root ? [] : [{ name: VOLUMES.run, mountPath: PLACES.run }]),
    // Root's run directory has to be castellan's alone, which no volume is: it is made in one.
    ...(root && readOnlyRoot ? [{ name: VOLUMES.run, mountPath: '/run' }] : []),
    ...(combined ? [LOG_MOUNT] : []),
    ...(readOnlyRoot && !taken.includes('/tmp') ? [{ name: VOLUMES.temporary, mountPath: '/tmp' }] : []),
  ];
}

/** Nobody but the network role may put a socket there; to connect to one takes no writing. */
const CONTROL_MOUNT: V1VolumeMount = { name: VOLUMES.control, mountPath: PLACES.control, readOnly: true };

export function networkMounts(options: SupervisorOptions): V1VolumeMount[] {
  const run = options.binaryIdentity === 'sidecar' ? PLACES.rootRun : PLACES.run;
  return [
    { name: VOLUMES.networkRun, mountPath: run },
    { name: VOLUMES.control, mountPath: PLACES.control },
    LOG_MOUNT,
    POLICY_MOUNT,
    ...secretMounts(options),
  ];
}

/** All volumes that the mounts above name, in the order of names' first use. `groupOwned`: the pod has an fsGroup. */
export function castellanVolumes(
  options: SupervisorOptions,
  mounts: readonly V1VolumeMount[],
  groupOwned: boolean,
): V1Volume[] {
  const sources = volumeSources(options, groupOwned);
  return [...new Set(mounts.map(({ name }) => name))].flatMap((name) => {
    const source = sources.get(name);
    return source === undefined ? [] : [{ name, ...source }];
  });
}

function volumeSources(options: SupervisorOptions, groupOwned: boolean): Map<string, Omit<V1Volume, 'name'>> {
  const { policy, image, pullPolicy, install } = options;
  const defaultMode = secretMode(options, groupOwned);
  return new Map<string, Omit<V1Volume, 'name'>>([
    [
      VOLUMES.program,
      install === 'copy'
        ? { emptyDir: {} }
        : { image: { reference: image, ...(pullPolicy !== undefined && { pullPolicy }) } },
    ],
    [VOLUMES.control, { emptyDir: STATE }],
    [VOLUMES.run, { emptyDir: STATE }],
    [VOLUMES.networkRun, { emptyDir: STATE }],
    [VOLUMES.log, { emptyDir: { sizeLimit: LOG_SIZE } }],
    [VOLUMES.temporary, { emptyDir: {} }],
    [VOLUMES.policy, { configMap: { name: policy.name, items: [{ key: policy.key, path: POLICY_KEY }] } }],
    ...SECRET_FILE_NAMES.flatMap((name): [string, Omit<V1Volume, 'name'>][] => {
      const from = options.secrets[name];
      if (from === undefined) return [];
      const items = [{ key: from.key, path: from.key }];
      // Said although it is the default: podman looks at it without asking whether it is there.
      const secret = { secretName: from.name, items, defaultMode, optional: false };
      return [[SECRETS[name].volume, { secret }]];
    }),
  ]);
}

/**
 * Secrets belong to root and, where the pod has an fsGroup, to that group, which may then read them whatever their mode. In the
 * sidecar topology the agent has the group and no mount of them; the proxy reads by the group, or as anybody where there is none, for
 * nobody else is in its container. Combined pods with secrets have no fsGroup, and root reads.
 */
function secretMode({ topology, binaryIdentity }: SupervisorOptions, groupOwned: boolean): number {
  if (topology === 'combined' || binaryIdentity === 'sidecar') return 0o400;
  return groupOwned ? 0o440 : 0o444;
}
