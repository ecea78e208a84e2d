/** The container that copies what an image has in its workspace into the volume that will cover it. */
import type { V1Container } from '@kubernetes/client-node';
import { castellanEnvironment, literal } from './environment.ts';
import { CASTELLAN, CONTAINERS, PLACES } from './layout.ts';
import { programMount } from './mounts.ts';
import { sandboxIds, unprivileged } from './security.ts';
import type { SupervisorOptions } from './supervisor.ts';

/**
 * It has the agent's image and runs none of it: castellan's own program, as the sandbox's user, behind the fence where there is one,
 * into a volume that is empty (castellan seed does nothing to another).
 */
export function seedContainer(
  { image, imagePullPolicy }: V1Container,
  { volume, from }: NonNullable<SupervisorOptions['seed']>,
  options: SupervisorOptions,
): V1Container {
  return {
    name: CONTAINERS.seed,
    ...(image !== undefined && { image }),
    ...(imagePullPolicy !== undefined && { imagePullPolicy }),
    command: [CASTELLAN],
    args: ['seed', literal(from), PLACES.seed],
    env: castellanEnvironment(options),
    securityContext: unprivileged(sandboxIds(options)),
    volumeMounts: [programMount(options), { name: volume, mountPath: PLACES.seed }],
    resources: { requests: { cpu: '10m', memory: '64Mi' } },
  };
}
