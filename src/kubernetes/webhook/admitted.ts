/** What other admission plugins have put into a pod by the time that a webhook sees it. */
import type { V1PodSpec } from '@kubernetes/client-node';
import { refusePod } from '../layout.ts';

const TOKEN_PLACE = '/var/run/secrets/kubernetes.io/serviceaccount';
/** The projected volume, and the Secret of clusters before 1.21. */
const TOKEN_VOLUME = /^kube-api-access-|-token-[a-z0-9]{5}$/;

/**
 * The pod without the token of its service account: castellan sets `automountServiceAccountToken: false`, which says nothing any more
 * once the token is in. With that field set, the plugin does not come back with it.
 * @throws CastellanError `manifest_invalid` where the pod's author has asked for the token
 */
export function withoutMountedToken(spec: V1PodSpec): V1PodSpec {
  const tokens = new Set(
    [...spec.containers, ...(spec.initContainers ?? [])].flatMap(({ volumeMounts = [] }) =>
      volumeMounts.filter(isTokenMount).map(({ name }) => name),
    ),
  );
  if (tokens.size === 0) return spec;
  if (spec.automountServiceAccountToken === true)
    return refusePod(
      'automountServiceAccountToken',
      'automountServiceAccountToken would show a token of the API server to the agent',
      'take it out',
    );
  const stripped = (container: V1PodSpec['containers'][number]) => ({
    ...container,
    ...(container.volumeMounts !== undefined && {
      volumeMounts: container.volumeMounts.filter((mount) => !isTokenMount(mount)),
    }),
  });
  return {
    ...spec,
    containers: spec.containers.map(stripped),
    ...(spec.initContainers !== undefined && { initContainers: spec.initContainers.map(stripped) }),
    ...(spec.volumes !== undefined && { volumes: spec.volumes.filter(({ name }) => !tokens.has(name)) }),
  };
}

function isTokenMount({ name, mountPath }: { readonly name: string; readonly mountPath: string }): boolean {
  return mountPath === TOKEN_PLACE && TOKEN_VOLUME.test(name);
}
