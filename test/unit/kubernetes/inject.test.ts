import type { V1Container, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { injectSupervisor } from '../../../src/kubernetes/inject.ts';
import type { SupervisorOptions } from '../../../src/kubernetes/supervisor.ts';
import { BARE, OPTIONS, supervised } from './pods.ts';

function bare(spec: Partial<V1PodSpec>, agent: Partial<V1Container> = {}): V1PodTemplateSpec {
  const [main] = BARE.spec?.containers ?? [];
  return { ...BARE, spec: { ...BARE.spec, containers: [{ name: 'main', ...main, ...agent }], ...spec } };
}
const inject = (pod: V1PodTemplateSpec, options: Partial<SupervisorOptions> = {}) =>
  injectSupervisor(pod, { ...OPTIONS, ...options });
const SIDE: V1Container = { name: 'side', image: 'side:1' };

describe('a pod that is supervised already', () => {
  const variants: [string, Partial<SupervisorOptions>][] = [
    ['sidecar', {}],
    ['combined', { topology: 'combined', healthPort: 9000, metricsPort: 9001 }],
    ['an ordinary sidecar', { nativeSidecar: false, binaryIdentity: 'sidecar' }],
    ['seeded', { seed: { volume: 'work', from: '/sandbox' }, install: 'image_volume', readOnlyRoot: true }],
    ['with another’s', { companions: 'fenced', agentContainer: 'main' }],
  ];
  const pods = variants.map(([name, options]) => {
    const pod = bare(options.companions === 'fenced' ? { initContainers: [SIDE] } : {});
    return { name, options, pod: inject(pod, options) };
  });

  it.each(pods)('$name: stays as it is', ({ pod, options }) => {
    expect(inject(structuredClone(pod), options)).toEqual(pod);
  });

  it.each(pods)('$name: stays as the API server fills it up', ({ pod, options }) => {
    const filled = structuredClone(pod);
    for (const container of [...(filled.spec?.initContainers ?? []), ...(filled.spec?.containers ?? [])]) {
      container.imagePullPolicy ??= 'IfNotPresent';
      container.terminationMessagePath = '/dev/termination-log';
    }
    expect(inject(filled, options)).toEqual(filled);
  });

  it.each(pods)('$name: is refused where anything of it differs', ({ pod, options }) => {
    const broken = structuredClone(pod);
    const [first] = broken.spec?.initContainers ?? [];
    const [agent] = broken.spec?.containers ?? [];
    if (first !== undefined) first.image = 'evil:1';
    else delete agent?.securityContext?.allowPrivilegeEscalation;
    expect(() => inject(broken, options)).toThrow('not what castellan would put there');
  });

  it('is refused without a protection whose absence is a default', () => {
    const broken = supervised();
    delete broken.spec?.containers[0]?.securityContext?.allowPrivilegeEscalation;
    const agent = structuredClone(supervised());
    delete agent.spec?.initContainers?.[0]?.securityContext?.allowPrivilegeEscalation;
    expect(() => inject(agent)).toThrow('not what castellan');
  });
});

describe('injectSupervisor', () => {
  it('keeps the pod it is given as it was', () => {
    const pod = structuredClone(BARE);
    inject(pod);
    expect(pod).toEqual(BARE);
  });

  it('starts castellan’s containers before all others', () => {
    const pod = inject(bare({ initContainers: [SIDE] }), { companions: 'fenced', agentContainer: 'main' });
    expect(pod.spec?.initContainers?.map(({ name }) => name)).toEqual([
      'castellan-install',
      'castellan-fence',
      'castellan-network',
      'side',
    ]);
  });

  it('leaves no word about users to the pod', () => {
    const securityContext = {
      runAsUser: 0,
      runAsGroup: 0,
      runAsNonRoot: false,
      fsGroupChangePolicy: 'Always',
    };
    expect(inject(bare({ securityContext })).spec?.securityContext).toEqual({
      seccompProfile: { type: 'RuntimeDefault' },
      fsGroup: 3000,
      fsGroupChangePolicy: 'OnRootMismatch',
    });
  });

  it('takes everything from companions', () => {
    const wild = { ...SIDE, securityContext: { privileged: true, capabilities: { add: ['SYS_ADMIN'] } } };
    const pod = inject(bare({ initContainers: [wild] }), { companions: 'fenced', agentContainer: 'main' });
    expect(pod.spec?.initContainers?.at(-1)?.securityContext).toEqual({
      runAsUser: 2000,
      runAsGroup: 3000,
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    });
  });

  it('gives variables by value where it can, and by name where Kubernetes has to look them up', () => {
    const env = [
      { name: 'A', value: 'x' },
      { name: 'B', value: 'is $(A)' },
      { name: 'C', value: '$$(A)' },
      { name: 'D', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      { name: 'E' },
    ];
    const [agent] = inject(bare({}, { env })).spec?.containers ?? [];
    const given = (agent?.args ?? []).filter((_, index) => agent?.args?.[index - 1] === '--env');
    expect(given).toEqual(['A=x', 'C=$$(A)', 'E=', 'B', 'D']);
    expect(agent?.env?.slice(-2)).toEqual([env[1], env[3]]);
  });

  it.each<[string, V1PodTemplateSpec, Partial<SupervisorOptions>, string]>([
    ['no spec', {}, {}, 'the pod has no spec'],
    ['no container', bare({ containers: [] }), {}, 'the pod has no container'],
    ['no command', bare({}, { command: [] }), {}, 'has no command'],
    ['envFrom', bare({}, { envFrom: [{ secretRef: { name: 'x' } }] }), {}, 'has envFrom'],
    [
      'a variable of castellan’s',
      bare({}, { env: [{ name: 'SANDBOX_UID', value: '0' }] }),
      {},
      "castellan's own",
    ],
    ['a variable that loads code', bare({}, { env: [{ name: 'LD_PRELOAD', value: 'x' }] }), {}, 'load code'],
    ['no variable at all', bare({}, { env: [{ name: 'a-b', value: 'x' }] }), {}, 'not a variable name'],
    [
      'a looked-up variable that init takes',
      bare({}, { env: [{ name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }] }),
      {},
      "is taken from castellan's own environment",
    ],
    [
      'a hook',
      bare({}, { lifecycle: { postStart: { exec: { command: ['x'] } } } }),
      {},
      'lifecycle.postStart',
    ],
    [
      'a probe',
      bare({}, { livenessProbe: { exec: { command: ['x'] } } }),
      {},
      'livenessProbe of container main',
    ],
    [
      'a probe that reaches nobody',
      bare({}, { livenessProbe: { tcpSocket: { port: 80 } } }),
      {},
      'reaches nobody',
    ],
    ['a reserved name', bare({}, { name: 'castellan-agent' }), {}, 'named castellan-'],
    [
      'a reserved volume',
      bare({ volumes: [{ name: 'castellan-bin', emptyDir: {} }] }),
      {},
      'named castellan-',
    ],
    [
      'a mount over the program',
      bare({}, { volumeMounts: [{ name: 'work', mountPath: '/opt' }] }),
      {},
      '/opt of container main would cover /opt/castellan',
    ],
    [
      'a mount within the control directory',
      bare({}, { volumeMounts: [{ name: 'work', mountPath: '/run/castellan-pod/x' }] }),
      {},
      'lies within /run/castellan-pod',
    ],
    [
      'a mount there by the link of most images',
      bare({}, { volumeMounts: [{ name: 'work', mountPath: '/var/run' }] }),
      {},
      '/var/run of container main',
    ],
    [
      'a path with dots',
      bare({}, { volumeMounts: [{ name: 'work', mountPath: '/a/../opt/castellan' }] }),
      {},
      'not a plain absolute path',
    ],
    [
      'two mounts at one place',
      bare({}, { volumeMounts: [1, 2].map(() => ({ name: 'work', mountPath: '/sandbox' })) }),
      {},
      'has two mounts at /sandbox',
    ],
    [
      'a message file over the policy',
      bare({}, { terminationMessagePath: '/etc/castellan/policy.yaml' }),
      { topology: 'combined' },
      'lies within /etc/castellan',
    ],
    [
      'a device over the program',
      bare({}, { volumeDevices: [{ name: 'work', devicePath: '/opt/castellan/bin/castellan' }] }),
      {},
      'lies within /opt/castellan',
    ],
    [
      'a directory of the host',
      bare({ volumes: [{ name: 'work', hostPath: { path: '/' } }] }),
      {},
      'spec.volumes[0].hostPath: is a directory of the host',
    ],
    [
      'a volume that the kubelet runs git for',
      bare({ volumes: [{ name: 'work', gitRepo: { repository: 'x' } }] }),
      {},
      'volume work is of the kind gitRepo',
    ],
    [
      'a sysctl',
      bare({ securityContext: { sysctls: [{ name: 'net.ipv4.conf.all.route_localnet', value: '1' }] } }),
      {},
      'sets net.ipv4.conf.all.route_localnet',
    ],
    [
      'a port of the host',
      bare({}, { ports: [{ containerPort: 1, hostPort: 1 }] }),
      {},
      'takes a port of the host',
    ],
    ['a working directory over castellan', BARE, { workdir: '/' }, '/ of workdir would cover'],
    ['the host’s network', bare({ hostNetwork: true }), {}, 'hostNetwork'],
    ['the host’s processes', bare({ hostPID: true }), {}, 'hostPID'],
    ['shared processes', bare({ shareProcessNamespace: true }), {}, 'show castellan to the agent'],
    ['Windows', bare({ os: { name: 'windows' } }), {}, 'is for Linux'],
    [
      'another group',
      bare({ securityContext: { fsGroup: 7 } }),
      {},
      "fsGroup 7 is not the sandbox's group 3000",
    ],
    [
      'the proxy’s group',
      bare({ securityContext: { supplementalGroups: [5, 1337] } }),
      {},
      'supplementary group 1337',
    ],
    [
      'a secret for the agent',
      bare({ volumes: [{ name: 'work', secret: { secretName: 'x' } }] }),
      {},
      'volume work would show a secret',
    ],
    [
      'a token for the agent',
      bare({ volumes: [{ name: 'work', projected: { sources: [{ serviceAccountToken: { path: 't' } }] } }] }),
      {},
      'volume work would show a secret',
    ],
    [
      'a certificate with its key for the agent',
      bare({
        volumes: [
          {
            name: 'work',
            projected: { sources: [{ podCertificate: { signerName: 'a/b', keyType: 'ED25519' } }] },
          },
        ],
      }),
      {},
      'volume work would show a secret',
    ],
    ['an init container', bare({ initContainers: [SIDE] }), {}, 'container side would run unsupervised'],
    [
      'an init container in a combined pod',
      bare({ initContainers: [SIDE] }),
      { topology: 'combined', companions: 'fenced' },
      'nothing fences the pod',
    ],
    [
      'a companion that is root',
      bare({ initContainers: [{ ...SIDE, securityContext: { runAsUser: 0 } }] }),
      { companions: 'fenced' },
      'runAsUser 0 of container side',
    ],
    [
      'a companion that is the proxy',
      bare({ initContainers: [{ ...SIDE, securityContext: { runAsUser: 1337 } }] }),
      { companions: 'fenced' },
      'runAsUser 1337 of container side',
    ],
    [
      'two containers of one name',
      bare({ initContainers: [{ ...SIDE, name: 'main' }] }),
      { companions: 'fenced' },
      'two containers are named main',
    ],
    ['several containers', bare({ containers: [SIDE, { ...SIDE, name: 'b' }] }), {}, "which is the agent's"],
    ['a name that nobody has', BARE, { agentContainer: 'x' }, 'the pod has no container x'],
    ['a platform’s uid beside a fence', BARE, { identity: { kind: 'platform' } }, 'the sidecar is told'],
    [
      'a platform’s uid with secrets',
      BARE,
      { identity: { kind: 'platform' }, topology: 'combined' },
      "need a uid beside the agent's",
    ],
    ['the proxy as the sandbox', BARE, { proxyUid: 2000 }, "uid 2000 (sandbox_uid) is the proxy's"],
    ['one port for two', BARE, { healthPort: 9, metricsPort: 9 }, 'port 9 is for health and for metrics'],
    ['no proxy', BARE, { proxyUid: 0 }, 'proxy_uid 0 is outside'],
    ['a key that is a path', BARE, { policy: { name: 'p', key: '../x' } }, 'key "../x" of p'],
    [
      'secrets that a seed’s group could read',
      BARE,
      { topology: 'combined', seed: { volume: 'work', from: '/sandbox' } },
      'an fsGroup, which the workspace needs here',
    ],
    [
      'a looking sidecar without one',
      BARE,
      { topology: 'combined', binaryIdentity: 'sidecar' },
      'sidecar topology',
    ],
  ])('refuses %s', (_, pod, options, message) => {
    expect(() => inject(pod, options)).toThrow(message);
  });
});
