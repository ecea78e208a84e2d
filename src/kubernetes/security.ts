/** Security contexts of the containers of a supervised pod. Each drops everything and adds back what config/capabilities.ts has for it. */
import type { V1SecurityContext } from '@kubernetes/client-node';
import { type CapabilityHolder, renderedCapabilities } from '../config/capabilities.ts';
import type { SupervisorOptions } from './supervisor.ts';

/** Root with some capabilities. Kubernetes has no ambient ones, so that they are worth nothing to any other uid. */
export function privileged(...holders: readonly CapabilityHolder[]): V1SecurityContext {
  return {
    runAsUser: 0,
    runAsGroup: 0,
    runAsNonRoot: false,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: [...renderedCapabilities(...holders)] },
    seccompProfile: { type: 'RuntimeDefault' },
  };
}

/** Nobody special, with nothing. The uid is left out where the platform gives it. */
export function unprivileged(
  ids: { readonly uid: number; readonly gid: number } | undefined,
): V1SecurityContext {
  return {
    ...(ids !== undefined && { runAsUser: ids.uid, runAsGroup: ids.gid }),
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  };
}

/** Whose number the platform gives for the sandbox; undefined where it gives none before the container starts. */
export function sandboxIds({ identity }: SupervisorOptions): { uid: number; gid: number } | undefined {
  return identity.kind === 'platform' ? undefined : { uid: identity.uid.value, gid: identity.gid.value };
}

/** Castellan's own containers have the proxy's number where they need none in particular. */
export function proxyIds({
  identity,
  proxyUid,
}: SupervisorOptions): { uid: number; gid: number } | undefined {
  return identity.kind === 'platform' ? undefined : { uid: proxyUid, gid: proxyUid };
}

/** What the agent's container needs to hold castellan. */
export function agentSecurity(options: SupervisorOptions, given: V1SecurityContext = {}): V1SecurityContext {
  const root = options.topology === 'combined' && options.identity.kind === 'ids';
  const context = root ? privileged('combined') : unprivileged(sandboxIds(options));
  const { seLinuxOptions } = given;
  return {
    ...context,
    readOnlyRootFilesystem: options.readOnlyRoot,
    ...stricterSeccomp(given),
    ...(seLinuxOptions !== undefined && { seLinuxOptions }),
    ...(root && options.appArmor !== undefined && { appArmorProfile: appArmorProfile(options.appArmor) }),
    ...(!root && given.appArmorProfile?.type === 'Localhost' && { appArmorProfile: given.appArmorProfile }),
  };
}

/** A profile of the operator's own is kept; none at all is not. */
function stricterSeccomp({ seccompProfile }: V1SecurityContext): V1SecurityContext {
  return seccompProfile?.type === 'Localhost' ? { seccompProfile } : {};
}

function appArmorProfile(
  profile: NonNullable<SupervisorOptions['appArmor']>,
): NonNullable<V1SecurityContext['appArmorProfile']> {
  return profile.startsWith('Localhost/')
    ? { type: 'Localhost', localhostProfile: profile.slice('Localhost/'.length) }
    : { type: profile };
}
