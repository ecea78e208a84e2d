/** Containers beside the agent's that castellan does not supervise. */
import type { V1Container } from '@kubernetes/client-node';
import { refusePod } from './layout.ts';
import { sandboxIds, unprivileged } from './security.ts';
import type { SupervisorOptions } from './supervisor.ts';

/**
 * The container without any privilege, behind the pod's fence. It may still say who it is, but never that it is the proxy or root:
 * and so it may gain nothing by execve(2), for an image can hold a program that becomes anybody.
 * @throws CastellanError `manifest_invalid`
 */
export function fenceCompanion(container: V1Container, options: SupervisorOptions): V1Container {
  const { name, securityContext: given = {} } = container;
  if (options.topology === 'combined')
    return refusePod(
      name,
      `container ${name} would run beside castellan: in the combined topology nothing fences the pod`,
      'use the sidecar topology, or another pod',
    );
  if (options.companions === 'refused')
    return refusePod(
      name,
      `container ${name} would run unsupervised`,
      'allow companions to be fenced, or use another pod',
    );
  const ids = sandboxIds(options);
  const uid = given.runAsUser ?? ids?.uid;
  const gid = given.runAsGroup ?? ids?.gid;
  for (const [what, id] of Object.entries({ runAsUser: uid, runAsGroup: gid }))
    if (id === options.proxyUid || (what === 'runAsUser' && id === 0))
      refusePod(
        name,
        `${what} ${id} of container ${name} is root's or the proxy's`,
        'give it another number',
      );
  const { readOnlyRootFilesystem: _, ...context } = unprivileged(
    uid === undefined || gid === undefined ? undefined : { uid, gid },
  );
  const { readOnlyRootFilesystem, seLinuxOptions, seccompProfile } = given;
  return {
    ...container,
    securityContext: {
      ...context,
      ...(readOnlyRootFilesystem !== undefined && { readOnlyRootFilesystem }),
      ...(seLinuxOptions !== undefined && { seLinuxOptions }),
      ...(seccompProfile?.type === 'Localhost' && { seccompProfile }),
    },
  };
}
