/** What cannot be made safe by putting castellan into it, and is refused before anything is built. */
import type { V1Container, V1PodSpec, V1Volume } from '@kubernetes/client-node';
import { mountedPaths, placedContainers } from './containers.ts';
import { MAX_POD_ID } from './identity.ts';
import { isNormalPath, overlap, refusePod, reservedPlaceAt } from './layout.ts';
import type { SupervisorOptions } from './supervisor.ts';

/**
 * Refuses options that contradict each other.
 * @throws CastellanError `manifest_invalid`
 */
export function refuseOptions(options: SupervisorOptions): void {
  const { topology, identity, proxyUid, secrets, binaryIdentity, workdir } = options;
  if (!(Number.isInteger(proxyUid) && proxyUid >= 1 && proxyUid <= MAX_POD_ID))
    refusePod('proxy_uid', `proxy_uid ${proxyUid} is outside 1 to ${MAX_POD_ID}`);
  if (identity.kind === 'platform' && topology === 'sidecar')
    refusePod(
      'identity',
      "the sidecar is told the sandbox's uid before the agent's container has one, so that it cannot be the platform's",
      'name sandbox_uid, or use the combined topology',
    );
  if (identity.kind === 'platform' && Object.keys(secrets).length > 0)
    refusePod(
      'identity',
      "files with secrets need a uid beside the agent's, and a platform gives one alone",
      'use the sidecar topology, or name sandbox_uid',
    );
  if (topology === 'combined' && binaryIdentity !== 'process')
    refusePod('binary_identity', `binary_identity ${binaryIdentity} is for the sidecar topology`);
  for (const { name, key } of [options.policy, ...Object.values(secrets)])
    if (!/^[-._a-zA-Z0-9]{1,253}$/.test(key) || /^\.\.?$/.test(key))
      refusePod(name, `key ${JSON.stringify(key)} of ${name} is none that a ConfigMap or Secret can have`);
  if (options.healthPort !== undefined && options.healthPort === options.metricsPort)
    refusePod(
      'metrics_port',
      `port ${options.healthPort} is for health and for metrics`,
      'give each its own',
    );
  refusePlace('workdir', workdir);
}

/**
 * Refuses a pod whose parts would go round castellan.
 * @throws CastellanError `manifest_invalid`
 */
export function refuseConflicts(spec: V1PodSpec, agent: V1Container, options: SupervisorOptions): void {
  refuseSharing(spec, options);
  refuseGroups(spec, options);
  const names = new Set<string>();
  for (const { container } of placedContainers(spec)) {
    if (names.has(container.name)) refusePod(container.name, `two containers are named ${container.name}`);
    names.add(container.name);
    refuseMounts(
      container.name,
      mountedPaths(container).map(({ path }) => path),
    );
  }
  for (const { path } of mountedPaths(agent)) refusePlace(`container ${agent.name}`, path);
  const secret = new Set((spec.volumes ?? []).filter(holdsSecrets).map(({ name }) => name));
  for (const { name } of agent.volumeMounts ?? [])
    if (secret.has(name))
      refusePod(
        agent.name,
        `volume ${name} would show a secret to the agent in container ${agent.name}`,
        'give the secret to castellan as credentials: the agent gets a placeholder',
      );
}

/**
 * Storage that is not made for the pod belongs to root. Where nothing privileged is in the agent's container the kubelet has to make
 * it the sandbox's; a combined castellan does that itself, but not before a copy is put into it.
 */
export function needsFsGroup(
  { volumes = [] }: V1PodSpec,
  { topology, identity, seed }: SupervisorOptions,
): boolean {
  if (identity.kind === 'platform') return false;
  return volumes.some(
    (volume) => isLasting(volume) && (topology === 'sidecar' || volume.name === seed?.volume),
  );
}

function isLasting({ persistentVolumeClaim, ephemeral, csi }: V1Volume): boolean {
  return persistentVolumeClaim !== undefined || ephemeral !== undefined || csi !== undefined;
}

/** Whether a volume is of secrets or tokens. */
export function holdsSecrets({ secret, projected }: V1Volume): boolean {
  return (
    secret !== undefined ||
    (projected?.sources ?? []).some(
      (source) =>
        source.secret !== undefined ||
        source.serviceAccountToken !== undefined ||
        // With its key (Kubernetes 1.34).
        source.podCertificate !== undefined,
    )
  );
}

function refuseSharing(spec: V1PodSpec, { binaryIdentity }: SupervisorOptions): void {
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const)
    if (spec[field]) refusePod(field, `${field} would show the host to the agent`, 'take it out');
  if (spec.shareProcessNamespace && binaryIdentity !== 'sidecar')
    refusePod(
      'shareProcessNamespace',
      'shareProcessNamespace would show castellan to the agent',
      'take it out',
    );
  if (spec.os?.name === 'windows') refusePod('os', 'castellan is for Linux');
}

function refuseGroups(spec: V1PodSpec, options: SupervisorOptions): void {
  const { identity, proxyUid, topology, secrets } = options;
  const { fsGroup, supplementalGroups = [] } = spec.securityContext ?? {};
  const strange = supplementalGroups.find((group) => group === 0 || group === proxyUid);
  if (strange !== undefined)
    refusePod('supplementalGroups', `supplementary group ${strange} is root's or the proxy's`, 'take it out');
  if (fsGroup !== undefined && identity.kind === 'ids' && fsGroup !== identity.gid.value)
    refusePod(
      'fsGroup',
      `fsGroup ${fsGroup} is not the sandbox's group ${identity.gid.value} (${identity.gid.source})`,
      'set sandbox_gid to it, or take it out',
    );
  if (
    topology === 'combined' &&
    Object.keys(secrets).length > 0 &&
    (fsGroup !== undefined || needsFsGroup(spec, options))
  )
    refusePod(
      'fsGroup',
      `${fsGroup === undefined ? 'an fsGroup, which the workspace needs here,' : `fsGroup ${fsGroup}, which the pod has,`} would make the files with secrets the agent's to read`,
      'use the sidecar topology, where the agent has no mount of them',
    );
}

function refuseMounts(container: string, paths: readonly string[]): void {
  const taken = new Set<string>();
  for (const path of paths) {
    if (!isNormalPath(path))
      refusePod(
        container,
        `mount path ${JSON.stringify(path)} of container ${container} is not a plain absolute path`,
      );
    if (taken.has(path)) refusePod(container, `container ${container} has two mounts at ${path}`);
    taken.add(path);
  }
}

/** A place of the agent's must neither cover castellan's nor lie within. */
function refusePlace(where: string, path: string): void {
  if (!isNormalPath(path))
    refusePod(where, `${JSON.stringify(path)} of ${where} is not a plain absolute path`);
  const place = reservedPlaceAt(path);
  if (place === undefined) return;
  const how = overlap(path, place) && path.length <= place.length ? 'would cover' : 'lies within';
  refusePod(where, `${path} of ${where} ${how} ${place}, which is reserved`, 'use another path');
}
