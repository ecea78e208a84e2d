/**
 * Which SecurityContextConstraints of OpenShift a pod needs: restricted-v2, which every service account may use, nonroot-v2, or one made
 * for it. An SCC admits a pod as a whole, so that one container can ask for what none of the others needs.
 */
import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import { type PlacedContainer, placedContainers } from './containers.ts';
import { RESTRICTED_VOLUMES } from './pod-security.ts';

export type RequiredScc =
  | { readonly name: 'restricted-v2' }
  /** Numbers that the namespace has not set aside. */
  | { readonly name: 'nonroot-v2'; readonly because: readonly string[] }
  | { readonly name: 'custom'; readonly needs: SccNeeds; readonly because: readonly string[] };

/** Fields of an SCC beyond nonroot-v2's. */
export interface SccNeeds {
  readonly allowedCapabilities: readonly string[];
  readonly runAsUser: 'MustRunAsNonRoot' | 'RunAsAny';
  readonly allowPrivilegeEscalation: boolean;
  readonly allowPrivilegedContainer: boolean;
  readonly hostFields: readonly string[];
  readonly volumes: readonly string[];
  readonly seccompProfiles: readonly string[];
}

const USUAL_CAPABILITY = 'NET_BIND_SERVICE';

/** The least that admits the pod. Whether a number lies in the namespace's range is not known here, so that one that is set asks for more. */
export function requiredScc(pod: V1PodTemplateSpec): RequiredScc {
  const placed = pod.spec === undefined ? [] : placedContainers(pod.spec);
  const because: string[] = [];
  const needs: SccNeeds = {
    allowedCapabilities: neededCapabilities(placed, because),
    runAsUser: needsRoot(pod, placed, because) ? 'RunAsAny' : 'MustRunAsNonRoot',
    allowPrivilegeEscalation: some(
      placed,
      because,
      'allowPrivilegeEscalation',
      ({ container }) => container.securityContext?.allowPrivilegeEscalation === true,
    ),
    allowPrivilegedContainer: some(
      placed,
      because,
      'privileged',
      ({ container }) => container.securityContext?.privileged === true,
    ),
    hostFields: neededHostFields(pod, placed, because),
    volumes: neededVolumes(pod, because),
    seccompProfiles: neededProfiles(pod, placed, because),
  };
  if (because.length > 0) return { name: 'custom', needs, because };
  const numbers = explicitNumbers(pod, placed);
  return numbers.length === 0 ? { name: 'restricted-v2' } : { name: 'nonroot-v2', because: numbers };
}

/** In one line. */
export function describeScc(required: RequiredScc): string {
  switch (required.name) {
    case 'restricted-v2':
      return 'restricted-v2';
    case 'nonroot-v2':
      return `nonroot-v2 (${required.because.join('; ')}), or restricted-v2 where the namespace has these numbers`;
    case 'custom':
      return `custom (${required.because.join('; ')})`;
  }
}

/** The object, with everything that the pod does not need left closed. */
export function sccManifest(name: string, needs: SccNeeds): Readonly<Record<string, unknown>> {
  const allowed = (field: string) => needs.hostFields.includes(field);
  return {
    apiVersion: 'security.openshift.io/v1',
    kind: 'SecurityContextConstraints',
    metadata: { name },
    allowHostDirVolumePlugin: needs.volumes.includes('hostPath'),
    allowHostIPC: allowed('hostIPC'),
    allowHostNetwork: allowed('hostNetwork'),
    allowHostPID: allowed('hostPID'),
    allowHostPorts: allowed('hostPort'),
    allowPrivilegeEscalation: needs.allowPrivilegeEscalation || needs.allowPrivilegedContainer,
    allowPrivilegedContainer: needs.allowPrivilegedContainer,
    allowedCapabilities: needs.allowedCapabilities,
    defaultAddCapabilities: [],
    requiredDropCapabilities: ['ALL'],
    fsGroup: { type: 'RunAsAny' },
    supplementalGroups: { type: 'RunAsAny' },
    readOnlyRootFilesystem: false,
    runAsUser: { type: needs.runAsUser },
    seLinuxContext: { type: 'MustRunAs' },
    seccompProfiles: ['runtime/default', ...needs.seccompProfiles],
    volumes: [...RESTRICTED_VOLUMES, ...needs.volumes],
    users: [],
    groups: [],
  };
}

function neededCapabilities(placed: readonly PlacedContainer[], because: string[]): string[] {
  const needed = new Set<string>();
  for (const { container } of placed) {
    const added = (container.securityContext?.capabilities?.add ?? []).filter(
      (name) => name !== USUAL_CAPABILITY,
    );
    for (const name of added) needed.add(name);
    if (added.length > 0) because.push(`${container.name} adds ${added.join(' ')}`);
  }
  return [...needed];
}

function needsRoot(pod: V1PodTemplateSpec, placed: readonly PlacedContainer[], because: string[]): boolean {
  return some(placed, because, 'uid 0', ({ container }) => {
    const own = container.securityContext;
    const shared = pod.spec?.securityContext;
    return (own?.runAsUser ?? shared?.runAsUser) === 0;
  });
}

function neededHostFields(
  { spec }: V1PodTemplateSpec,
  placed: readonly PlacedContainer[],
  because: string[],
): string[] {
  const fields: string[] = (['hostNetwork', 'hostPID', 'hostIPC'] as const).filter(
    (field) => spec?.[field] === true,
  );
  because.push(...fields);
  if (
    some(placed, because, 'hostPort', ({ container }) =>
      (container.ports ?? []).some(({ hostPort }) => hostPort),
    )
  )
    fields.push('hostPort');
  return fields;
}

function neededVolumes({ spec }: V1PodTemplateSpec, because: string[]): string[] {
  const kinds = (spec?.volumes ?? []).flatMap(({ name: _, ...source }) =>
    Object.entries(source).flatMap(([kind, value]) => (value === undefined ? [] : [kind])),
  );
  const unusual = [...new Set(kinds)].filter((kind) => !RESTRICTED_VOLUMES.includes(kind));
  because.push(...unusual.map((kind) => `a volume of the kind ${kind}`));
  return unusual;
}

function neededProfiles(
  { spec }: V1PodTemplateSpec,
  placed: readonly PlacedContainer[],
  because: string[],
): string[] {
  const profiles = [
    spec?.securityContext,
    ...placed.map(({ container }) => container.securityContext),
  ].flatMap((context) => {
    const { type, localhostProfile } = context?.seccompProfile ?? {};
    if (type === 'Unconfined') return ['unconfined'];
    return type === 'Localhost' ? [`localhost/${localhostProfile ?? ''}`] : [];
  });
  const needed = [...new Set(profiles)];
  because.push(...needed.map((profile) => `seccomp ${profile}`));
  return needed;
}

function explicitNumbers({ spec }: V1PodTemplateSpec, placed: readonly PlacedContainer[]): string[] {
  const { runAsUser, fsGroup } = spec?.securityContext ?? {};
  return [
    ...(runAsUser === undefined ? [] : [`the pod is uid ${runAsUser}`]),
    ...(fsGroup === undefined ? [] : [`fsGroup ${fsGroup}`]),
    ...placed.flatMap(({ container }) => {
      const uid = container.securityContext?.runAsUser;
      return uid === undefined ? [] : [`${container.name} is uid ${uid}`];
    }),
  ];
}

/** Whether any container is so; who is goes into the reasons. */
function some(
  placed: readonly PlacedContainer[],
  because: string[],
  what: string,
  is: (placed: PlacedContainer) => boolean | number | undefined,
): boolean {
  const names = placed.filter(is).map(({ container }) => container.name);
  if (names.length > 0) because.push(`${names.join(', ')}: ${what}`);
  return names.length > 0;
}
