/** What other webhooks, asked after castellan, may make of its part of a pod: nothing. Each row says what the refusal has to name. */
import { describe, expect, it } from 'vitest';
import { LAST_CASE } from '../fakes/admission.ts';
import { admission, type Change, changed, container, injected, lines } from './webhook-world.ts';

const drop = (list: { name: string }[], name: string) =>
  list.splice(
    list.findIndex((one) => one.name === name),
    1,
  );

describe('a pod that another webhook changed after castellan', () => {
  const FENCED = 'companions: fenced\npods_may_choose: [container, policy]';
  const rows: readonly { name: string; change: Change; configuration?: string; message: RegExp }[] = [
    {
      name: 'lost the sidecar',
      change: ({ spec }) => drop(spec.initContainers, 'castellan-network'),
      message:
        /: spec\.initContainers\[2\]: container castellan-network is missing; take castellan’s parts out/,
    },
    {
      name: 'lost the fence',
      change: ({ spec }) => drop(spec.initContainers, 'castellan-fence'),
      message:
        /spec\.initContainers\[1\]\.name is container castellan-network in the place of castellan-fence/,
    },
    {
      name: 'lost everything but a volume',
      change: ({ spec }) =>
        Object.assign(spec, { initContainers: [], containers: [{ name: 'agent', command: ['x'] }] }),
      message: /supervises 0 containers/,
    },
    {
      name: 'starts something before the fence',
      change: ({ spec }) => spec.initContainers.unshift({ name: 'early', image: 'x' }),
      message: /container early would run unsupervised/,
    },
    {
      name: 'starts something before the fence, which companions may not',
      configuration: FENCED,
      change: ({ spec }) =>
        spec.initContainers.unshift({ name: 'early', image: 'x', securityContext: { runAsUser: 7 } }),
      message: /spec\.initContainers\[0\]\.name is container early in the place of castellan-install/,
    },
    {
      name: 'has another order',
      change: ({ spec }) => spec.initContainers.reverse(),
      message: /initContainers\[0\]\.name is container castellan-network in the place of castellan-install/,
    },
    {
      name: 'has a container with the exempt uid',
      change: ({ spec }) =>
        spec.containers.push({ name: 'side', image: 'x', securityContext: { runAsUser: 1337 } }),
      message: /the pod has 2 containers, and nobody says which is the agent's/,
    },
    {
      name: 'has a fenced container with the exempt uid',
      configuration: FENCED,
      change: ({ spec, metadata }) => {
        metadata.annotations['castellan/container'] = 'agent';
        spec.containers.push({ name: 'side', image: 'x', securityContext: { runAsUser: 1337 } });
      },
      message: /runAsUser 1337 of container side is root's or the proxy's; give it another number/,
    },
    {
      name: 'has a companion that nobody fenced',
      configuration: FENCED,
      change: ({ spec, metadata }) => {
        metadata.annotations['castellan/container'] = 'agent';
        spec.containers.push({ name: 'side', image: 'x' });
      },
      message: /spec\.containers\[1\]\.securityContext of container side/,
    },
    {
      name: 'has castellan of another image',
      change: (pod) => Object.assign(container(pod, 'castellan-network'), { image: 'evil:1' }),
      message: /spec\.initContainers\[2\]\.image of container castellan-network/,
    },
    {
      name: 'has all of castellan of another image',
      change: ({ spec }) => {
        for (const one of spec.initContainers) one.image = 'evil:1';
      },
      message: /spec\.initContainers\[0\]\.image of container castellan-install/,
    },
    {
      name: 'lets the network role do more',
      configuration: 'binary_identity: sidecar',
      change: (pod) => container(pod, 'castellan-network').securityContext.capabilities.add.push('SYS_ADMIN'),
      message: /securityContext\.capabilities\.add\[5\] of container castellan-network/,
    },
    {
      name: 'lets the agent gain privileges',
      change: (pod) => delete container(pod, 'agent').securityContext.allowPrivilegeEscalation,
      message: /spec\.containers\[0\]\.securityContext\.allowPrivilegeEscalation of container agent/,
    },
    {
      name: 'starts the agent without castellan',
      change: (pod) => Object.assign(container(pod, 'agent'), { command: ['/usr/bin/agent'], args: [] }),
      message: /put there: it supervises 0 containers, where it takes one; /,
    },
    {
      name: 'has castellan told another policy',
      change: (pod) => container(pod, 'castellan-network').args.splice(6, 1, '/tmp/policy.yaml'),
      message: /spec\.initContainers\[2\]\.args\[6\] of container castellan-network/,
    },
    {
      name: 'sets a variable beside castellan',
      change: (pod) => container(pod, 'agent').env.push({ name: 'LD_PRELOAD', value: '/x.so' }),
      message: /spec\.containers\[0\]\.(args|env)\[\d+\] of container agent/,
    },
    {
      name: 'has a hook',
      change: (pod) =>
        Object.assign(container(pod, 'agent'), { lifecycle: { postStart: { exec: { command: ['x'] } } } }),
      message: /lifecycle\.postStart of container agent would run a program outside of castellan's cell/,
    },
    {
      name: 'lets kubelets ask something else',
      change: (pod) =>
        Object.assign(container(pod, 'castellan-network').startupProbe.exec, { command: ['true'] }),
      message: /startupProbe\.exec\.command\[0\] of container castellan-network/,
    },
    {
      name: 'writes a message over the policy',
      change: (pod) =>
        Object.assign(container(pod, 'castellan-network'), {
          terminationMessagePath: '/etc/castellan/policy.yaml',
        }),
      message: /spec\.initContainers\[2\]\.terminationMessagePath of container castellan-network/,
    },
    {
      name: 'shows the host',
      change: ({ spec }) => Object.assign(spec, { hostNetwork: true }),
      message: /hostNetwork would show the host to the agent; take it out/,
    },
    {
      name: 'shares no processes any more',
      configuration: 'binary_identity: sidecar',
      change: ({ spec }) => delete spec.shareProcessNamespace,
      message: /put there: spec\.shareProcessNamespace; /,
    },
    {
      name: 'shares processes where nobody asked',
      configuration: 'binary_identity: process',
      change: ({ spec }) => Object.assign(spec, { shareProcessNamespace: true }),
      message: /put there: spec\.shareProcessNamespace; /,
    },
    {
      name: 'gives the token back',
      change: ({ spec }) => Object.assign(spec, { automountServiceAccountToken: true }),
      message: /put there: spec\.automountServiceAccountToken; /,
    },
    {
      name: 'mounts the token again',
      change: ({ spec }) => {
        spec.volumes.push({
          name: 'kube-api-access-abcde',
          projected: { sources: [{ serviceAccountToken: {} }] },
        });
        spec.containers[0].volumeMounts.push({
          name: 'kube-api-access-abcde',
          mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
        });
      },
      message: /volume kube-api-access-abcde would show a secret to the agent/,
    },
    {
      name: 'has another policy under castellan’s name',
      change: ({ spec }) =>
        Object.assign(
          spec.volumes.find(({ name }: { name: string }) => name === 'castellan-policy'),
          { configMap: undefined, emptyDir: {} },
        ),
      message: /spec\.volumes\[\d\]\.configMap; /,
    },
    {
      name: 'has a writable program',
      change: (pod) => {
        for (const mount of container(pod, 'agent').volumeMounts) delete mount.readOnly;
      },
      message: /volumeMounts\[0\]\.readOnly of container agent/,
    },
    {
      name: 'has a mount of the host',
      change: ({ spec }) => {
        spec.volumes.push({ name: 'host', hostPath: { path: '/' } });
        spec.containers[0].volumeMounts.push({ name: 'host', mountPath: '/host' });
      },
      message: /spec\.volumes\[\d\]\.hostPath: is a directory of the host/,
    },
    {
      name: 'has a port of the host',
      change: (pod) =>
        Object.assign(container(pod, 'castellan-network'), { ports: [{ containerPort: 1, hostPort: 1 }] }),
      message: /spec\.initContainers\[2\]\.ports of container castellan-network/,
    },
    {
      name: 'starts again',
      change: ({ spec }) => Object.assign(spec, { restartPolicy: 'Always' }),
      message: /put there: spec\.restartPolicy; /,
    },
    {
      name: 'ends before castellan',
      change: ({ spec }) => Object.assign(spec, { terminationGracePeriodSeconds: 5 }),
      message: /spec\.terminationGracePeriodSeconds; /,
    },
    {
      name: 'has a group of the proxy',
      change: ({ spec }) => Object.assign(spec.securityContext, { supplementalGroups: [1337] }),
      message: /supplementary group 1337 is root's or the proxy's/,
    },
    {
      name: 'chooses what it may not',
      change: ({ metadata }) => Object.assign(metadata.annotations, { 'castellan/topology': 'combined' }),
      message: /annotation castellan\/topology is not a pod’s to choose/,
    },
    {
      name: 'chooses another policy',
      change: ({ metadata }) => Object.assign(metadata.annotations, { 'castellan/policy': 'other' }),
      message: /spec\.volumes\[\d\]\.configMap\.name; /,
    },
    {
      name: 'says that it has other numbers',
      change: ({ metadata }) => Object.assign(metadata.annotations, { 'castellan/sandbox-uid': '5' }),
      message: /metadata\.annotations\["castellan\/sandbox-uid"\]; /,
    },
    {
      name: 'does not ask any more, and has less',
      change: ({ metadata, spec }) => {
        delete metadata.annotations['castellan/inject'];
        drop(spec.initContainers, 'castellan-network');
      },
      message: /castellan-network is missing/,
    },
    {
      name: 'asks no more, under other names',
      change: ({ metadata, spec }) => {
        delete metadata.annotations;
        spec.initContainers = [];
        spec.volumes = [];
        spec.containers[0].volumeMounts = [];
      },
      message: /not what castellan would put there: .*spec\./,
    },
    {
      name: 'has an ephemeral container from the start',
      change: ({ spec }) => Object.assign(spec, { ephemeralContainers: [{ name: 'debug' }] }),
      message: /ephemeral container debug would run in the pod outside/,
    },
    {
      name: 'has two containers of one name',
      change: ({ spec }) => spec.initContainers.push({ ...spec.initContainers[0] }),
      message: /initContainers\[3\]/,
    },
    {
      name: 'has a container that is named as ours',
      change: ({ spec }) => spec.containers.push({ name: 'castellan-helper', image: 'x' }),
      message: /spec\.containers\[1\] is container castellan-helper/,
    },
    {
      name: 'has more containers than anybody needs',
      change: ({ spec }) => {
        spec.containers = Array.from({ length: 10_000 }, (_, index) => ({ name: `castellan-${index}` }));
      },
      message: /more than 100 containers/,
    },
    {
      name: 'has no shape any more',
      change: ({ spec }) =>
        Object.assign(spec, { initContainers: [null, 7], containers: [{ name: 'castellan-x', env: 1 }] }),
      message: /has to be/,
    },
  ];
  it.each(rows)('is not stored: $name', async ({ change, configuration, message }) => {
    const { hook, pod } = await injected(configuration);
    lines.length = 0;
    const { response } = await admission(hook, LAST_CASE, changed(pod, change));
    expect(response).toMatchObject({ allowed: false, status: { code: 403, reason: 'Forbidden' } });
    expect(response.status?.message).toMatch(/^castellan \((manifest|identity)_invalid\): /);
    expect(response.status?.message).toMatch(message);
    expect(lines).toHaveLength(1);
    // Variables of the agent are among castellan's arguments.
    expect(`${lines[0]} ${response.status?.message}`).not.toContain('hunter2');
  });
});
