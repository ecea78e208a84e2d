import type { V1Container, V1PodSpec, V1PodTemplateSpec, V1SecurityContext } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import {
  POD_SECURITY_CONTROLS,
  podSecurityLevel,
  podSecurityViolations,
} from '../../../src/kubernetes/pod-security.ts';
import { requiredScc, sccManifest } from '../../../src/kubernetes/scc.ts';

const RESTRICTED: V1SecurityContext = {
  runAsNonRoot: true,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

function pod(
  context: V1SecurityContext = {},
  container: Partial<V1Container> = {},
  spec: Partial<V1PodSpec> = {},
): V1PodTemplateSpec {
  return {
    spec: {
      containers: [{ name: 'a', securityContext: { ...RESTRICTED, ...context }, ...container }],
      ...spec,
    },
  };
}
const without = (key: keyof V1SecurityContext) => {
  const { [key]: _, ...rest } = RESTRICTED;
  return rest;
};
const only = (securityContext: V1SecurityContext) => pod({}, { securityContext });
const add = (...names: string[]) => pod({ capabilities: { drop: ['ALL'], add: names } });
const volume = (source: object) => pod({}, {}, { volumes: [{ name: 'v', ...source }] });
const shared = (securityContext: V1PodSpec['securityContext']) =>
  pod({}, {}, { ...(securityContext && { securityContext }) });

/** Every control from both sides: what it lets pass, and what not. */
const TABLE: readonly (readonly [string, V1PodTemplateSpec, readonly string[]])[] = [
  ['nothing to say', pod(), []],
  ['host process', pod({ windowsOptions: { hostProcess: true } }), ['windowsHostProcess']],
  ['host process of the pod', shared({ windowsOptions: { hostProcess: true } }), ['windowsHostProcess']],
  ['host process, denied', pod({ windowsOptions: { hostProcess: false } }), []],
  ['host network', pod({}, {}, { hostNetwork: true }), ['hostNamespaces']],
  ['host pid', pod({}, {}, { hostPID: true }), ['hostNamespaces']],
  ['host ipc', pod({}, {}, { hostIPC: true }), ['hostNamespaces']],
  ['no host network', pod({}, {}, { hostNetwork: false }), []],
  ['privileged', pod({ privileged: true }), ['privileged']],
  ['not privileged', pod({ privileged: false }), []],
  ['the one capability', add('NET_BIND_SERVICE'), []],
  ['a capability of baseline', add('CHOWN'), ['capabilities_restricted']],
  ['a capability of nobody', add('NET_RAW'), ['capabilities_baseline', 'capabilities_restricted']],
  [
    'a capability in the kernel’s spelling',
    add('CAP_CHOWN'),
    ['capabilities_baseline', 'capabilities_restricted'],
  ],
  ['nothing dropped', only(without('capabilities')), ['capabilities_restricted']],
  ['not all dropped', pod({ capabilities: { drop: ['NET_RAW'] } }), ['capabilities_restricted']],
  ['a directory of the host', volume({ hostPath: { path: '/' } }), ['hostPathVolumes', 'restrictedVolumes']],
  ['NFS', volume({ nfs: { server: 's', path: '/' } }), ['restrictedVolumes']],
  ['an image', volume({ image: { reference: 'x' } }), ['restrictedVolumes']],
  ['a volume of no kind', volume({}), ['restrictedVolumes']],
  ...[
    'configMap',
    'csi',
    'downwardAPI',
    'emptyDir',
    'ephemeral',
    'persistentVolumeClaim',
    'projected',
    'secret',
  ].map((kind) => [`a ${kind}`, volume({ [kind]: {} }), []] as const),
  ['a port of the host', pod({}, { ports: [{ containerPort: 1, hostPort: 1 }] }), ['hostPorts']],
  ['no port of the host', pod({}, { ports: [{ containerPort: 1, hostPort: 0 }] }), []],
  [
    'a probe elsewhere',
    pod({}, { livenessProbe: { httpGet: { port: 1, host: 'x' } } }),
    ['hostProbesAndHostLifecycle'],
  ],
  [
    'a probe by TCP elsewhere',
    pod({}, { startupProbe: { tcpSocket: { port: 1, host: 'x' } } }),
    ['hostProbesAndHostLifecycle'],
  ],
  ['a probe here', pod({}, { readinessProbe: { httpGet: { port: 1, host: '' } } }), []],
  [
    'a hook elsewhere',
    pod({}, { lifecycle: { preStop: { httpGet: { port: 1, host: 'x' } } } }),
    ['hostProbesAndHostLifecycle'],
  ],
  ['no AppArmor', pod({ appArmorProfile: { type: 'Unconfined' } }), ['appArmorProfile']],
  ['no AppArmor for the pod', shared({ appArmorProfile: { type: 'Unconfined' } }), ['appArmorProfile']],
  ['an AppArmor profile', pod({ appArmorProfile: { type: 'Localhost', localhostProfile: 'x' } }), []],
  [
    'no AppArmor, the old way',
    {
      ...pod(),
      metadata: { annotations: { 'container.apparmor.security.beta.kubernetes.io/a': 'unconfined' } },
    },
    ['appArmorProfile'],
  ],
  [
    'AppArmor, the old way',
    {
      ...pod(),
      metadata: { annotations: { 'container.apparmor.security.beta.kubernetes.io/a': 'localhost/x' } },
    },
    [],
  ],
  ['a type of SELinux', pod({ seLinuxOptions: { type: 'spc_t' } }), ['seLinuxOptions']],
  ['a container type of SELinux', shared({ seLinuxOptions: { type: 'container_kvm_t', level: 's0' } }), []],
  ['a user of SELinux', pod({ seLinuxOptions: { user: 'system_u' } }), ['seLinuxOptions']],
  ['a role of SELinux', shared({ seLinuxOptions: { role: 'sysadm_r' } }), ['seLinuxOptions']],
  ['proc unmasked', pod({ procMount: 'Unmasked' }), ['procMount']],
  ['proc as always', pod({ procMount: 'Default' }), []],
  [
    'no seccomp',
    pod({ seccompProfile: { type: 'Unconfined' } }),
    ['seccompProfile_baseline', 'seccompProfile_restricted'],
  ],
  ['no word about seccomp', only(without('seccompProfile')), ['seccompProfile_restricted']],
  [
    'seccomp by the pod',
    {
      spec: {
        ...only(without('seccompProfile')).spec,
        containers: [{ name: 'a', securityContext: without('seccompProfile') }],
        securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'x' } },
      },
    },
    [],
  ],
  ['no seccomp by the pod', shared({ seccompProfile: { type: 'Unconfined' } }), ['seccompProfile_baseline']],
  ['a sysctl', shared({ sysctls: [{ name: 'kernel.msgmax', value: '1' }] }), ['sysctls']],
  ['a safe sysctl', shared({ sysctls: [{ name: 'net.ipv4.tcp_syncookies', value: '1' }] }), []],
  ['escalation', pod({ allowPrivilegeEscalation: true }), ['allowPrivilegeEscalation']],
  ['no word about escalation', only(without('allowPrivilegeEscalation')), ['allowPrivilegeEscalation']],
  ['no word about root', only(without('runAsNonRoot')), ['runAsNonRoot']],
  [
    'no root by the pod',
    {
      spec: {
        containers: [{ name: 'a', securityContext: without('runAsNonRoot') }],
        securityContext: { runAsNonRoot: true },
      },
    },
    [],
  ],
  ['root allowed by the pod', shared({ runAsNonRoot: false }), ['runAsNonRoot']],
  ['uid 0', pod({ runAsUser: 0 }), ['runAsUser']],
  ['uid 0 of the pod', shared({ runAsUser: 0 }), ['runAsUser']],
  ['another uid', pod({ runAsUser: 1 }), []],
];

describe('the Pod Security Standards', () => {
  it.each(TABLE)('%s', (_, given, controls) => {
    expect(podSecurityViolations(given).map(({ control }) => control)).toEqual(controls);
  });

  it('has every control in the table', () => {
    const seen = new Set(TABLE.flatMap(([, , controls]) => controls));
    expect([...seen].sort()).toEqual([...POD_SECURITY_CONTROLS].sort());
  });

  it.each(['initContainers', 'ephemeralContainers'] as const)('looks at %s too', (kind) => {
    const [container] = pod({ privileged: true }).spec?.containers ?? [];
    const given = pod({}, {}, { [kind]: [{ ...container, name: 'b' }] });
    expect(podSecurityViolations(given)).toMatchObject([
      { container: 'b', path: `spec.${kind}[0].securityContext.privileged` },
    ]);
  });

  it('gives each container its level', () => {
    const given = pod(
      { privileged: true },
      {},
      { initContainers: [{ name: 'b', securityContext: RESTRICTED }] },
    );
    const violations = podSecurityViolations(given);
    expect(podSecurityLevel(violations)).toBe('privileged');
    expect(podSecurityLevel(violations, 'a')).toBe('privileged');
    expect(podSecurityLevel(violations, 'b')).toBe('restricted');
  });
});

describe('the constraints of OpenShift', () => {
  it.each([
    ['nothing', pod(), 'restricted-v2'],
    ['a port below 1024', add('NET_BIND_SERVICE'), 'restricted-v2'],
    ['a number', pod({ runAsUser: 5 }), 'nonroot-v2'],
    ['a number of the pod', shared({ runAsUser: 5 }), 'nonroot-v2'],
    ['a group for volumes', shared({ fsGroup: 5 }), 'nonroot-v2'],
    ['root', pod({ runAsUser: 0 }), 'custom'],
    ['root of the pod', shared({ runAsUser: 0 }), 'custom'],
    ['a capability', add('CHOWN'), 'custom'],
    ['the host', pod({}, {}, { hostPID: true }), 'custom'],
    ['a port of the host', pod({}, { ports: [{ containerPort: 1, hostPort: 1 }] }), 'custom'],
    ['a directory of the host', volume({ hostPath: { path: '/' } }), 'custom'],
    ['no seccomp', pod({ seccompProfile: { type: 'Unconfined' } }), 'custom'],
    ['escalation', pod({ allowPrivilegeEscalation: true }), 'custom'],
  ] as const)('%s', (_, given, name) => {
    expect(requiredScc(given).name).toBe(name);
  });

  it('are no wider than the pod', () => {
    const required = requiredScc(pod({ runAsUser: 0, capabilities: { drop: ['ALL'], add: ['CHOWN'] } }));
    if (required.name !== 'custom') throw new Error(required.name);
    expect(sccManifest('x', required.needs)).toMatchObject({
      allowedCapabilities: ['CHOWN'],
      requiredDropCapabilities: ['ALL'],
      allowPrivilegedContainer: false,
      allowPrivilegeEscalation: false,
      allowHostNetwork: false,
      runAsUser: { type: 'RunAsAny' },
      seccompProfiles: ['runtime/default'],
    });
  });
});
