/**
 * A second opinion on Pod Security: rules that others wrote from the same standard, asked about every pair of things that a pod can say.
 * Where they differ is written down, with who is right and why.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { V1Container, V1Pod, V1PodSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { POD_SECURITY_CONTROLS, podSecurityViolations } from '../../../src/kubernetes/pod-security.ts';

interface Rule {
  readonly id: number;
  validate(input: { resources: readonly V1Pod[] }, context: { report: (pod: V1Pod) => void }): void;
}

const RULES = join(
  import.meta.dirname,
  '../../../node_modules/@monokle/validation/lib/validators/pod-security-standards/rules',
);
const rules = new Map<number, Rule>();
for (const file of readdirSync(RULES).filter((name) => name.endsWith('.js')))
  for (const rule of Object.values<Rule>(await import(join(RULES, file)))) rules.set(rule.id, rule);

/** Our name of a control to the number of their rule. */
const OPINIONS: Readonly<Record<string, number>> = {
  windowsHostProcess: 101,
  hostNamespaces: 102,
  privileged: 103,
  capabilities_baseline: 104,
  hostPathVolumes: 105,
  hostPorts: 106,
  seLinuxOptions: 108,
  procMount: 109,
  seccompProfile_baseline: 110,
  sysctls: 111,
  restrictedVolumes: 201,
  allowPrivilegeEscalation: 202,
  runAsNonRoot: 203,
  runAsUser: 204,
  seccompProfile_restricted: 205,
  capabilities_restricted: 206,
};
/** Theirs of AppArmor looks for an annotation named with an asterisk, in templates alone; the other is younger than they are. */
const NO_OPINION = ['appArmorProfile', 'hostProbesAndHostLifecycle'];

type Change = (spec: V1PodSpec) => void;

const inPod =
  (context: V1PodSpec['securityContext']): Change =>
  (spec) => {
    spec.securityContext = { ...spec.securityContext, ...context };
  };
const inContainers =
  (change: (container: V1Container) => void, which: 'containers' | 'initContainers'): Change =>
  (spec) =>
    spec[which]?.forEach(change);
const withContext = (context: V1Container['securityContext'], which: 'containers' | 'initContainers') =>
  inContainers((container) => {
    container.securityContext = { ...container.securityContext, ...context };
  }, which);
const withVolume =
  (source: object): Change =>
  (spec) => {
    spec.volumes = [...(spec.volumes ?? []), { name: 'v', ...source }];
  };

const CONTEXTS: Readonly<Record<string, V1Container['securityContext']>> = {
  'a host process': { windowsOptions: { hostProcess: true } },
  privileged: { privileged: true },
  'a capability of baseline': { capabilities: { drop: ['ALL'], add: ['CHOWN'] } },
  'a capability of nobody': { capabilities: { drop: ['ALL'], add: ['SYS_ADMIN'] } },
  'the one capability': { capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] } },
  'nothing dropped': { capabilities: { add: ['NET_BIND_SERVICE'] } },
  'one dropped': { capabilities: { drop: ['NET_RAW'] } },
  'a type of SELinux': { seLinuxOptions: { type: 'spc_t' } },
  'a container type of SELinux': { seLinuxOptions: { type: 'container_init_t' } },
  'a user of SELinux': { seLinuxOptions: { user: 'system_u' } },
  'proc unmasked': { procMount: 'Unmasked' },
  'no seccomp': { seccompProfile: { type: 'Unconfined' } },
  'a seccomp profile': { seccompProfile: { type: 'Localhost', localhostProfile: 'x' } },
  escalation: { allowPrivilegeEscalation: true },
  'no escalation': { allowPrivilegeEscalation: false },
  'perhaps root': { runAsNonRoot: false },
  'not root': { runAsNonRoot: true },
  root: { runAsUser: 0 },
  'a uid': { runAsUser: 1000 },
};
const CHANGES: Readonly<Record<string, Change>> = {
  nothing: () => {},
  ...Object.fromEntries(
    Object.entries(CONTEXTS).flatMap(([name, context]) => [
      [name, withContext(context, 'containers')],
      [`${name}, at first`, withContext(context, 'initContainers')],
    ]),
  ),
  'a host process of the pod': inPod({ windowsOptions: { hostProcess: true } }),
  'the network of the host': (spec) => Object.assign(spec, { hostNetwork: true }),
  'the processes of the host': (spec) => Object.assign(spec, { hostPID: true, hostIPC: false }),
  'a port of the host': inContainers((one) => {
    one.ports = [{ containerPort: 1, hostPort: 1 }];
  }, 'containers'),
  'SELinux of the pod': inPod({ seLinuxOptions: { type: 'spc_t' } }),
  'seccomp of the pod': inPod({ seccompProfile: { type: 'RuntimeDefault' } }),
  'no seccomp of the pod': inPod({ seccompProfile: { type: 'Unconfined' } }),
  'a pod that is not root': inPod({ runAsNonRoot: true }),
  'a pod that may be root': inPod({ runAsNonRoot: false }),
  'a pod that is root': inPod({ runAsUser: 0 }),
  'a sysctl': inPod({ sysctls: [{ name: 'kernel.msgmax', value: '1' }] }),
  'a safe sysctl': inPod({ sysctls: [{ name: 'net.ipv4.tcp_syncookies', value: '1' }] }),
  'a sysctl that became safe': inPod({ sysctls: [{ name: 'net.ipv4.tcp_rmem', value: '1' }] }),
  'a directory of the host': withVolume({ hostPath: { path: '/' } }),
  'an empty directory': withVolume({ emptyDir: {} }),
  'a projected volume': withVolume({ projected: { sources: [] } }),
  NFS: withVolume({ nfs: { server: 's', path: '/' } }),
};

const RESTRICTED: V1Container['securityContext'] = {
  runAsNonRoot: true,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

function podOf(context: V1Container['securityContext'], changes: readonly Change[]): V1Pod {
  const container = (name: string): V1Container => structuredClone({ name, securityContext: { ...context } });
  const spec: V1PodSpec = { containers: [container('a')], initContainers: [container('i')] };
  for (const change of changes) change(spec);
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec };
}

/** Whether they are known to be wrong about a pod. */
const WRONG: Readonly<Record<string, (spec: V1PodSpec) => boolean>> = {
  // They take no notice of the pod's own word: where it is no, and where a container has none.
  runAsNonRoot: ({ securityContext }) => securityContext?.runAsNonRoot !== undefined,
  // A container's own word comes before the pod's.
  seccompProfile_restricted: ({ securityContext, containers, initContainers = [] }) =>
    securityContext?.seccompProfile?.type === 'RuntimeDefault' &&
    [...containers, ...initContainers].some(
      (one) => one.securityContext?.seccompProfile?.type === 'Unconfined',
    ),
  // Safe since 1.32.
  sysctls: ({ securityContext }) =>
    securityContext?.sysctls?.some(({ name }) => name === 'net.ipv4.tcp_rmem') === true,
};

describe('a second opinion', () => {
  it('is there about every control but two', () => {
    expect([...Object.keys(OPINIONS), ...NO_OPINION].sort()).toEqual([...POD_SECURITY_CONTROLS].sort());
    expect(Object.values(OPINIONS).filter((id) => !rules.has(id))).toEqual([]);
  });

  it.each(Object.entries(OPINIONS))('%s (%i): the same about every pair of changes', (control, id) => {
    const rule = rules.get(id);
    if (rule === undefined) throw new Error('there is no such rule');
    const seen = { agreed: 0, passed: 0, differed: 0 };
    for (const base of [RESTRICTED, undefined])
      for (const [first, change] of Object.entries(CHANGES))
        for (const [second, other] of Object.entries(CHANGES)) {
          const pod = podOf(base, [change, other]);
          const { spec } = pod;
          if (spec === undefined) throw new Error('there is no spec');
          let theirs = false;
          rule.validate({ resources: [pod] }, { report: () => (theirs = true) });
          const ours = podSecurityViolations({ spec }).some((violation) => violation.control === control);
          if (WRONG[control]?.(spec) === true) {
            if (ours !== theirs) seen.differed += 1;
            continue;
          }
          expect([first, second, ours]).toEqual([first, second, theirs]);
          seen.agreed += 1;
          if (!ours) seen.passed += 1;
        }
    expect(seen.passed).toBeGreaterThan(0);
    expect(seen.passed).toBeLessThan(seen.agreed);
    expect(seen.differed > 0).toBe(control in WRONG);
  });
});
