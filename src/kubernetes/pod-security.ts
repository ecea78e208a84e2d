/**
 * The Pod Security Standards, as https://kubernetes.io/docs/concepts/security/pod-security-standards/ publishes them for 1.34: every
 * control of baseline and restricted for Linux pods, by the name it has in the admission controller. Where a cluster is more lenient
 * (from 1.35 for pods with `hostUsers: false`) this is not: what passes here passes there.
 */
import type { V1LifecycleHandler, V1PodTemplateSpec, V1Probe } from '@kubernetes/client-node';
import { type PlacedContainer, placedContainers } from './containers.ts';

export const POD_SECURITY_LEVELS = ['privileged', 'baseline', 'restricted'] as const;
export type PodSecurityLevel = (typeof POD_SECURITY_LEVELS)[number];

export interface PodSecurityViolation {
  readonly control: string;
  /** The lowest level that asks for it. */
  readonly level: 'baseline' | 'restricted';
  /** Undefined where it is the pod's as a whole. */
  readonly container: string | undefined;
  readonly path: string;
  readonly problem: string;
}

interface Control {
  readonly id: string;
  readonly level: PodSecurityViolation['level'];
  /** [path within what is looked at, problem] */
  readonly ofPod?: (pod: V1PodTemplateSpec) => Iterable<Problem>;
  readonly ofContainer?: (placed: PlacedContainer, pod: V1PodTemplateSpec) => Iterable<Problem>;
}

type Problem = readonly [path: string, problem: string];

/** What a container may add at the baseline level. */
const BASELINE_CAPABILITIES: readonly string[] = [
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
];
const SELINUX_TYPES: readonly string[] = [
  '',
  'container_t',
  'container_init_t',
  'container_kvm_t',
  'container_engine_t',
];
const SAFE_SYSCTLS: readonly string[] = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
];
/** Of Pod Security's restricted level, and of OpenShift's restricted-v2 and nonroot-v2 too. */
export const RESTRICTED_VOLUMES: readonly string[] = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
];
const CONFINED_PROFILES: readonly (string | undefined)[] = ['RuntimeDefault', 'Localhost'];
const APPARMOR_ANNOTATION = 'container.apparmor.security.beta.kubernetes.io/';

const CONTROLS: readonly Control[] = [
  {
    id: 'windowsHostProcess',
    level: 'baseline',
    *ofPod({ spec }) {
      if (spec?.securityContext?.windowsOptions?.hostProcess)
        yield ['spec.securityContext.windowsOptions.hostProcess', 'runs on the host'];
    },
    *ofContainer({ container }) {
      if (container.securityContext?.windowsOptions?.hostProcess)
        yield ['securityContext.windowsOptions.hostProcess', 'runs on the host'];
    },
  },
  {
    id: 'hostNamespaces',
    level: 'baseline',
    *ofPod({ spec }) {
      for (const name of ['hostNetwork', 'hostPID', 'hostIPC'] as const)
        if (spec?.[name]) yield [`spec.${name}`, 'shares a namespace of the host'];
    },
  },
  {
    id: 'privileged',
    level: 'baseline',
    *ofContainer({ container }) {
      if (container.securityContext?.privileged)
        yield ['securityContext.privileged', 'is as good as root on the host'];
    },
  },
  {
    id: 'capabilities_baseline',
    level: 'baseline',
    *ofContainer({ container }) {
      const more = (container.securityContext?.capabilities?.add ?? []).filter(
        (name) => !BASELINE_CAPABILITIES.includes(name),
      );
      if (more.length > 0) yield ['securityContext.capabilities.add', `adds ${more.join(', ')}`];
    },
  },
  {
    id: 'hostPathVolumes',
    level: 'baseline',
    *ofPod({ spec }) {
      for (const [index, volume] of (spec?.volumes ?? []).entries())
        if (volume.hostPath !== undefined)
          yield [`spec.volumes[${index}].hostPath`, 'is a directory of the host'];
    },
  },
  {
    id: 'hostPorts',
    level: 'baseline',
    *ofContainer({ container }) {
      for (const [index, { hostPort }] of (container.ports ?? []).entries())
        if (hostPort) yield [`ports[${index}].hostPort`, 'takes a port of the host'];
    },
  },
  {
    id: 'hostProbesAndHostLifecycle',
    level: 'baseline',
    *ofContainer({ container }) {
      for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe'] as const)
        yield* otherHosts(name, container[name]);
      for (const name of ['postStart', 'preStop'] as const)
        yield* otherHosts(`lifecycle.${name}`, container.lifecycle?.[name]);
    },
  },
  {
    id: 'appArmorProfile',
    level: 'baseline',
    *ofPod({ metadata, spec }) {
      if (spec?.securityContext?.appArmorProfile?.type === 'Unconfined')
        yield ['spec.securityContext.appArmorProfile.type', 'is Unconfined'];
      for (const [name, value] of Object.entries(metadata?.annotations ?? {}))
        if (name.startsWith(APPARMOR_ANNOTATION) && !/^($|runtime\/default$|localhost\/)/.test(value))
          yield [`metadata.annotations[${name}]`, `is ${value}`];
    },
    *ofContainer({ container }) {
      if (container.securityContext?.appArmorProfile?.type === 'Unconfined')
        yield ['securityContext.appArmorProfile.type', 'is Unconfined'];
    },
  },
  {
    id: 'seLinuxOptions',
    level: 'baseline',
    *ofPod({ spec }) {
      yield* selinuxProblems('spec.securityContext', spec?.securityContext?.seLinuxOptions);
    },
    *ofContainer({ container }) {
      yield* selinuxProblems('securityContext', container.securityContext?.seLinuxOptions);
    },
  },
  {
    id: 'procMount',
    level: 'baseline',
    *ofContainer({ container }) {
      const { procMount = 'Default' } = container.securityContext ?? {};
      if (procMount !== 'Default') yield ['securityContext.procMount', `is ${procMount}`];
    },
  },
  {
    id: 'seccompProfile_baseline',
    level: 'baseline',
    *ofPod({ spec }) {
      if (spec?.securityContext?.seccompProfile?.type === 'Unconfined')
        yield ['spec.securityContext.seccompProfile.type', 'is Unconfined'];
    },
    *ofContainer({ container }) {
      if (container.securityContext?.seccompProfile?.type === 'Unconfined')
        yield ['securityContext.seccompProfile.type', 'is Unconfined'];
    },
  },
  {
    id: 'sysctls',
    level: 'baseline',
    *ofPod({ spec }) {
      for (const [index, { name }] of (spec?.securityContext?.sysctls ?? []).entries())
        if (!SAFE_SYSCTLS.includes(name))
          yield [`spec.securityContext.sysctls[${index}].name`, `sets ${name}`];
    },
  },
  {
    id: 'restrictedVolumes',
    level: 'restricted',
    *ofPod({ spec }) {
      for (const [index, { name, ...source }] of (spec?.volumes ?? []).entries()) {
        const kinds = Object.entries(source).flatMap(([kind, value]) => (value === undefined ? [] : [kind]));
        if (kinds.length === 0 || kinds.some((kind) => !RESTRICTED_VOLUMES.includes(kind)))
          yield [`spec.volumes[${index}]`, `volume ${name} is of the kind ${kinds.join(', ') || 'none'}`];
      }
    },
  },
  {
    id: 'allowPrivilegeEscalation',
    level: 'restricted',
    *ofContainer({ container }) {
      if (container.securityContext?.allowPrivilegeEscalation !== false)
        yield ['securityContext.allowPrivilegeEscalation', 'is not false'];
    },
  },
  {
    id: 'runAsNonRoot',
    level: 'restricted',
    *ofPod({ spec }) {
      if (spec?.securityContext?.runAsNonRoot === false)
        yield ['spec.securityContext.runAsNonRoot', 'is false'];
    },
    *ofContainer({ container }, { spec }) {
      if ((container.securityContext?.runAsNonRoot ?? spec?.securityContext?.runAsNonRoot) !== true)
        yield ['securityContext.runAsNonRoot', 'is not true'];
    },
  },
  {
    id: 'runAsUser',
    level: 'restricted',
    *ofPod({ spec }) {
      if (spec?.securityContext?.runAsUser === 0) yield ['spec.securityContext.runAsUser', 'is 0'];
    },
    *ofContainer({ container }) {
      if (container.securityContext?.runAsUser === 0) yield ['securityContext.runAsUser', 'is 0'];
    },
  },
  {
    id: 'seccompProfile_restricted',
    level: 'restricted',
    *ofContainer({ container }, { spec }) {
      const type = (container.securityContext?.seccompProfile ?? spec?.securityContext?.seccompProfile)?.type;
      if (!CONFINED_PROFILES.includes(type))
        yield ['securityContext.seccompProfile.type', 'is neither RuntimeDefault nor Localhost'];
    },
  },
  {
    id: 'capabilities_restricted',
    level: 'restricted',
    *ofContainer({ container }) {
      const { drop = [], add = [] } = container.securityContext?.capabilities ?? {};
      if (!drop.includes('ALL')) yield ['securityContext.capabilities.drop', 'does not name ALL'];
      const more = add.filter((name) => name !== 'NET_BIND_SERVICE');
      if (more.length > 0) yield ['securityContext.capabilities.add', `adds ${more.join(', ')}`];
    },
  },
];

/** The names of all controls. */
export const POD_SECURITY_CONTROLS: readonly string[] = CONTROLS.map(({ id }) => id);

/** Everything that keeps a pod from the restricted level, in the order of the controls. Pure. */
export function podSecurityViolations(pod: V1PodTemplateSpec): PodSecurityViolation[] {
  const placed = pod.spec === undefined ? [] : placedContainers(pod.spec);
  return CONTROLS.flatMap(({ id: control, level, ofPod, ofContainer }) => [
    ...[...(ofPod?.(pod) ?? [])].map(([path, problem]) => ({
      control,
      level,
      container: undefined,
      path,
      problem,
    })),
    ...placed.flatMap((one) =>
      [...(ofContainer?.(one, pod) ?? [])].map(([path, problem]) => ({
        control,
        level,
        container: one.container.name,
        path: `${one.path}.${path}`,
        problem,
      })),
    ),
  ]);
}

/** The highest level that violations leave. */
export function podSecurityLevel(violations: readonly PodSecurityViolation[]): PodSecurityLevel {
  if (violations.some(({ level }) => level === 'baseline')) return 'privileged';
  return violations.length > 0 ? 'baseline' : 'restricted';
}

function* otherHosts(path: string, asked: V1Probe | V1LifecycleHandler | undefined): Iterable<Problem> {
  for (const kind of ['httpGet', 'tcpSocket'] as const)
    if (asked?.[kind]?.host) yield [`${path}.${kind}.host`, 'lets the kubelet connect elsewhere'];
}

function* selinuxProblems(
  path: string,
  options: { readonly type?: string; readonly user?: string; readonly role?: string } | undefined,
): Iterable<Problem> {
  if (!SELINUX_TYPES.includes(options?.type ?? ''))
    yield [`${path}.seLinuxOptions.type`, `is ${options?.type}`];
  for (const key of ['user', 'role'] as const)
    if (options?.[key]) yield [`${path}.seLinuxOptions.${key}`, `is ${options[key]}`];
}
