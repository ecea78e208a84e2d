import type { V1Container, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { parseManifest } from '../../../src/kubernetes/manifest.ts';
import type { SupervisorOptions } from '../../../src/kubernetes/supervisor.ts';
import { validateManifest } from '../../../src/kubernetes/validate.ts';
import { renderYaml } from '../../../src/kubernetes/yaml-text.ts';
import { supervised } from './pods.ts';

const podText = (pod: object) => renderYaml([{ apiVersion: 'v1', kind: 'Pod', ...pod }]);

function rulesOf(text: string): string[] {
  return validateManifest(parseManifest(text, 'x.yaml'), {
    podSecurity: undefined,
    supervised: false,
  }).flatMap(({ findings }) => findings.map(({ rule }) => rule));
}

type Break = (spec: V1PodSpec, container: (name: string) => V1Container) => void;

function broken(options: Partial<SupervisorOptions>, change: Break): V1PodTemplateSpec {
  const pod = supervised(options);
  const { spec } = pod;
  if (spec === undefined) throw new Error('a pod without spec');
  change(spec, (name) => {
    const all = [...(spec.initContainers ?? []), ...spec.containers];
    const found = all.find((container) => container.name === name);
    if (found === undefined) throw new Error(`no container ${name}`);
    return found;
  });
  return pod;
}

const EVIL: V1Container = {
  name: 'evil',
  image: 'evil:1',
  command: ['/evil'],
  securityContext: {
    runAsUser: 2000,
    runAsGroup: 3000,
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
  },
};

describe('a supervised pod', () => {
  it.each<[string, Partial<SupervisorOptions>]>([
    ['sidecar', {}],
    ['combined', { topology: 'combined' }],
    ['an ordinary sidecar', { nativeSidecar: false }],
    ['a looking sidecar', { binaryIdentity: 'sidecar' }],
    ['by the platform', { topology: 'combined', identity: { kind: 'platform' }, secrets: {} }],
  ])('%s: is clean', (_, options) => {
    expect(rulesOf(podText(supervised(options)))).toEqual([]);
  });

  it('may have others behind the fence', () => {
    const pod = broken({}, (spec) => spec.containers.push(EVIL));
    expect(rulesOf(podText(pod))).toEqual([]);
  });

  it.each<[string, string, Partial<SupervisorOptions>, Break]>([
    [
      'an init container before the fence',
      'outside-the-fence',
      {},
      (spec) => spec.initContainers?.unshift(EVIL),
    ],
    [
      'a container beside a combined castellan',
      'outside-the-fence',
      { topology: 'combined' },
      (spec) => spec.containers.push(EVIL),
    ],
    ['no fence', 'no-fence', {}, (spec) => spec.initContainers?.splice(1, 1)],
    [
      'a fence that is none',
      'no-fence',
      {},
      (_, container) => {
        container('castellan-fence').command = ['/bin/true'];
      },
    ],
    ['no network role', 'no-network-role', {}, (spec) => spec.initContainers?.splice(2, 1)],
    [
      'a network role before the fence',
      'order',
      {},
      (spec) => spec.initContainers?.splice(1, 2, ...(spec.initContainers?.slice(1, 3).reverse() ?? [])),
    ],
    [
      'a sidecar that never ends',
      'native-sidecar',
      {},
      (_, container) => {
        delete container('castellan-network').restartPolicy;
      },
    ],
    [
      'a sidecar that nobody waits for',
      'native-sidecar',
      {},
      (_, container) => {
        delete container('castellan-network').startupProbe;
      },
    ],
    [
      'the proxy’s uid',
      'exempt-uid',
      {},
      (spec) =>
        spec.containers.push({ ...EVIL, securityContext: { ...EVIL.securityContext, runAsUser: 1337 } }),
    ],
    [
      'the proxy’s gid',
      'exempt-uid',
      {},
      (spec) =>
        spec.containers.push({ ...EVIL, securityContext: { ...EVIL.securityContext, runAsGroup: 1337 } }),
    ],
    [
      'the proxy’s group for everybody',
      'exempt-group',
      {},
      (spec) => Object.assign(spec.securityContext ?? {}, { supplementalGroups: [1337] }),
    ],
    [
      'a uid that the image says',
      'unsaid-uid',
      {},
      (_, container) => {
        delete container('main').securityContext?.runAsUser;
      },
    ],
    [
      'root',
      'root',
      {},
      (_, container) => Object.assign(container('main').securityContext ?? {}, { runAsUser: 0 }),
    ],
    [
      'a program that may become another',
      'not-restricted/allowPrivilegeEscalation',
      {},
      (_, container) => {
        delete container('main').securityContext?.allowPrivilegeEscalation;
      },
    ],
    [
      'a capability too many for the fence',
      'privileges',
      {},
      (_, container) => container('castellan-fence').securityContext?.capabilities?.add?.push('SYS_ADMIN'),
    ],
    [
      'a capability for somebody who loses it',
      'privileges',
      {},
      (_, container) =>
        Object.assign(container('castellan-network').securityContext?.capabilities ?? {}, {
          add: ['SYS_PTRACE'],
        }),
    ],
    [
      'a combined castellan that keeps defaults',
      'privileges',
      { topology: 'combined' },
      (_, container) => {
        delete container('main').securityContext?.capabilities?.drop;
      },
    ],
    [
      'other numbers than the container’s',
      'told-otherwise',
      {},
      (_, container) => Object.assign(container('main').env?.[0] ?? {}, { value: '5' }),
    ],
    [
      'another uid for the sidecar',
      'told-otherwise',
      {},
      (_, container) => {
        const { args = [] } = container('castellan-network');
        args[args.indexOf('--sandbox-uid') + 1] = '5';
      },
    ],
    [
      'two proxies',
      'told-otherwise',
      {},
      (_, container) => {
        const { args = [] } = container('castellan-network');
        args[args.indexOf('--proxy-uid') + 1] = '5';
      },
    ],
    [
      'a secret for the agent',
      'secret-in-reach',
      {},
      (_, container) =>
        container('main').volumeMounts?.push({ name: 'castellan-credentials', mountPath: '/keys' }),
    ],
    [
      'a secret in a variable',
      'secret-in-reach',
      {},
      (_, container) =>
        container('main').env?.push({ name: 'KEY', valueFrom: { secretKeyRef: { name: 'x', key: 'y' } } }),
    ],
    [
      'secrets in all variables',
      'secret-in-reach',
      {},
      (_, container) => Object.assign(container('main'), { envFrom: [{ secretRef: { name: 'x' } }] }),
    ],
    [
      'a token for the agent',
      'secret-in-reach',
      {},
      (spec, container) => {
        spec.volumes?.push({ name: 't', projected: { sources: [{ serviceAccountToken: { path: 't' } }] } });
        container('main').volumeMounts?.push({ name: 't', mountPath: '/t' });
      },
    ],
    [
      'secrets that fsGroup opens',
      'secret-opened',
      { topology: 'combined' },
      (spec) => Object.assign(spec.securityContext ?? {}, { fsGroup: 3000 }),
    ],
    [
      'secrets that their mode opens',
      'secret-opened',
      { topology: 'combined' },
      (spec) => {
        delete spec.volumes?.find(({ secret }) => secret !== undefined)?.secret?.defaultMode;
      },
    ],
    [
      'a mount over the program',
      'mount-overlap',
      {},
      (_, container) => container('main').volumeMounts?.push({ name: 'work', mountPath: '/opt' }),
    ],
    [
      'two mounts in one place',
      'mount-overlap',
      {},
      (_, container) => container('main').volumeMounts?.push({ name: 'work', mountPath: '/sandbox/' }),
    ],
    [
      'a mount of nothing',
      'unknown-volume',
      {},
      (_, container) => container('main').volumeMounts?.push({ name: 'x', mountPath: '/x' }),
    ],
    [
      'two volumes of one name',
      'double-name',
      {},
      (spec) => spec.volumes?.push({ name: 'work', emptyDir: {} }),
    ],
    [
      'two containers of one name',
      'double-name',
      {},
      (spec) => spec.containers.push({ ...EVIL, name: 'main' }),
    ],
    [
      'a reserved name',
      'reserved-name',
      {},
      (spec) => spec.containers.push({ ...EVIL, name: 'castellan-x' }),
    ],
    [
      'castellan’s volume for others',
      'reserved-volume',
      {},
      (spec) =>
        spec.containers.push({
          ...EVIL,
          volumeMounts: [{ name: 'castellan-pod', mountPath: '/x', readOnly: true }],
        }),
    ],
    [
      'a control directory that the agent may write',
      'reserved-volume',
      {},
      (_, container) => {
        for (const mount of container('main').volumeMounts ?? [])
          if (mount.name === 'castellan-pod') delete mount.readOnly;
      },
    ],
    [
      'a program that may be exchanged',
      'writable-program',
      {},
      (_, container) => {
        for (const mount of container('main').volumeMounts ?? []) delete mount.readOnly;
      },
    ],
    [
      'another image for castellan',
      'castellan-image',
      {},
      (_, container) => {
        container('castellan-fence').image = 'evil:1';
      },
    ],
    [
      'nobody supervised',
      'agent',
      {},
      (_, container) => {
        container('main').command = ['/bin/agent'];
      },
    ],
    [
      'a hook',
      'entrance',
      {},
      (_, container) =>
        Object.assign(container('main'), { lifecycle: { preStop: { exec: { command: ['x'] } } } }),
    ],
    [
      'a probe of the image',
      'entrance',
      {},
      (_, container) => Object.assign(container('main'), { readinessProbe: { exec: { command: ['x'] } } }),
    ],
    ['a variable left to the image', 'image-variables', {}, (_, container) => container('main').env?.shift()],
    ['the host’s network', 'pod-field', {}, (spec) => Object.assign(spec, { hostNetwork: true })],
    ['shared processes', 'pod-field', {}, (spec) => Object.assign(spec, { shareProcessNamespace: true })],
    [
      'no shared processes for who has to see them',
      'pod-field',
      { binaryIdentity: 'sidecar' },
      (spec) => {
        delete spec.shareProcessNamespace;
      },
    ],
    [
      'a token by default',
      'pod-field',
      {},
      (spec) => {
        delete spec.automountServiceAccountToken;
      },
    ],
    [
      'services by default',
      'pod-field',
      {},
      (spec) => {
        delete spec.enableServiceLinks;
      },
    ],
    ['another start', 'pod-field', {}, (spec) => Object.assign(spec, { restartPolicy: 'Always' })],
    [
      'another start of the agent’s container',
      'pod-field',
      {},
      (_, container) => Object.assign(container('main'), { restartPolicy: 'OnFailure' }),
    ],
    [
      'another start of all by a rule of one',
      'pod-field',
      {},
      (_, container) =>
        Object.assign(container('castellan-install'), {
          restartPolicyRules: [{ action: 'RestartAllContainers' }],
        }),
    ],
    [
      'an end before castellan’s own',
      'pod-field',
      {},
      (spec) => Object.assign(spec, { terminationGracePeriodSeconds: 10 }),
    ],
  ])('%s: %s', (_, rule, options, change) => {
    const pod = broken(options, change);
    expect(rulesOf(podText(pod))).toContain(rule);
  });

  it('is not clean without any one line that protects the agent', () => {
    // The pod's own profile stands behind the container's.
    const text = podText(broken({}, (spec) => delete spec.securityContext?.seccompProfile));
    expect(rulesOf(text)).toEqual([]);
    const lines = text.split('\n');
    const [start, end] = [lines.indexOf('  containers:'), lines.indexOf('  volumes:')];
    const protects =
      /^ +(runAs(User|NonRoot): |allowPrivilegeEscalation|- ALL|readOnly: true|type: RuntimeDefault)/;
    const tried = lines.flatMap((line, index) => {
      if (index < start || index > end || !protects.test(line)) return [];
      return [{ line, rules: rulesOf(lines.toSpliced(index, 1).join('\n')) }];
    });
    expect(tried.length).toBeGreaterThan(5);
    expect(tried.filter(({ rules }) => rules.length === 0)).toEqual([]);
  });
});
