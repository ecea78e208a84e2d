/**
 * What stands in for Kubernetes where podman is more lenient: assertions on what is rendered, for every kind of pod that this suite plays.
 * README.md has the table.
 */
import type { V1Container } from '@kubernetes/client-node';
import { describe, expect, test } from 'vitest';
import { allContainers, changesOf, forPodman, PROBES, type RenderedPod, renderPod } from './manifest.ts';
import { type RequestOptions, requestFor } from './requests.ts';

type Topology = RequestOptions['topology'];
const KINDS: readonly (readonly [name: string, topology: Topology, more: string])[] = [
  ['combined', 'combined', ''],
  [
    'combined, with everything',
    'combined',
    'read_only_root: true\nhealth_port: 9000\nmetrics_port: 9001\ncredentials: { secret: keys }',
  ],
  ['sidecar', 'sidecar', ''],
  ['sidecar that identifies', 'sidecar', 'binary_identity: sidecar'],
  [
    'sidecar, with everything',
    'sidecar',
    'health_port: 9000\nmetrics_port: 9001\ncredentials: { secret: keys }\nworkspace: { claim: work, seed: true }',
  ],
];

function rendered(topology: Topology, more: string, native = false): RenderedPod {
  const request = requestFor({ name: 'fidelity', topology, script: 'true', more });
  return renderPod(native ? request.replace('native_sidecar: false', 'native_sidecar: true') : request);
}

function named({ pod }: RenderedPod, name: string): V1Container {
  const found = allContainers(pod.spec).find((container) => container.name === name);
  if (found === undefined) throw new Error(`no container ${name}`);
  return found;
}

describe.each(KINDS)('%s', (_, topology, more) => {
  const one = rendered(topology, more);
  const containers = allContainers(one.pod.spec);

  test('capabilities: added to uid 0 alone, as Kubernetes has no ambient ones', () => {
    for (const { name, securityContext } of containers) {
      expect(securityContext?.capabilities?.drop, name).toEqual(['ALL']);
      if ((securityContext?.capabilities?.add ?? []).length > 0)
        expect(securityContext?.runAsUser, name).toBe(0);
    }
  });

  test('runAsNonRoot: said wherever the number is not 0, and by the container itself', () => {
    for (const { name, securityContext } of containers)
      expect(securityContext?.runAsNonRoot, name).toBe(securityContext?.runAsUser !== 0);
  });

  test('seccompProfile: the runtime’s, everywhere', () => {
    for (const { name, securityContext } of containers)
      expect(securityContext?.seccompProfile, name).toEqual({ type: 'RuntimeDefault' });
    expect(one.pod.spec.securityContext?.seccompProfile).toEqual({ type: 'RuntimeDefault' });
  });

  test('allowPrivilegeEscalation: never', () => {
    for (const { name, securityContext } of containers)
      expect(securityContext?.allowPrivilegeEscalation, name).toBe(false);
  });

  test('probes: of castellan’s own program or port, none of the image', () => {
    for (const container of containers)
      for (const probe of PROBES) {
        const { exec, httpGet } = container[probe] ?? {};
        if (exec !== undefined) expect(exec.command?.[0]).toBe('/opt/castellan/bin/castellan');
        if (httpGet !== undefined) expect(httpGet.port).toBe(9000);
      }
  });

  test('volumes: of the kinds that are made here as the kubelet makes them', () => {
    const kinds = (one.pod.spec.volumes ?? []).flatMap(({ name: __, ...source }) => Object.keys(source));
    for (const kind of kinds)
      expect(['emptyDir', 'configMap', 'secret', 'persistentVolumeClaim']).toContain(kind);
    expect(one.pod.spec.automountServiceAccountToken).toBe(false);
  });

  test('hooks: none', () => {
    for (const { lifecycle, name } of containers) expect(lifecycle, name).toBeUndefined();
  });

  test('podman is told nothing else', () => {
    const played = forPodman(one, ({ name }) => `/place/of/${name}`);
    for (const path of changesOf(one.pod, played))
      expect(path).toMatch(
        /^\/spec\/(volumes\/\*\/|securityContext\/(fsGroup|supplementalGroups)|\w+ontainers\/\*\/(\w+Probe|ports))/,
      );
    expect(
      allContainers(played.spec).map(({ securityContext, command, args, env }) => ({
        securityContext,
        command,
        args,
        env,
      })),
    ).toEqual(
      containers.map(({ securityContext, command, args, env }) => ({ securityContext, command, args, env })),
    );
  });
});

describe('a native sidecar, which podman would wait for', () => {
  const one = rendered('sidecar', '', true);

  test('goes on beside the agent, and is waited for until it serves', () => {
    const network = named(one, 'castellan-network');
    expect(one.pod.spec.initContainers?.map(({ name }) => name)).toEqual([
      'castellan-install',
      'castellan-fence',
      'castellan-network',
    ]);
    expect(network.restartPolicy).toBe('Always');
    expect(network.startupProbe?.exec?.command?.slice(1)).toEqual(['probe', 'ready']);
  });

  test('is otherwise the container that is played', () => {
    const { restartPolicy: _, startupProbe: __, ...native } = named(one, 'castellan-network');
    expect(native).toEqual(named(rendered('sidecar', ''), 'castellan-network'));
  });
});

describe('fsGroup, which podman ignores', () => {
  test('is the sandbox’s group where storage outlives the pod, and a supplementary group when played', () => {
    const one = rendered('sidecar', 'workspace: { claim: work }');
    const group = one.pod.spec.securityContext?.fsGroup;
    expect(group).toBe(named(one, 'agent').securityContext?.runAsGroup);
    const played = forPodman(one, () => '/place');
    expect(played.spec.securityContext).toMatchObject({ supplementalGroups: [group] });
    expect(played.spec.securityContext).not.toHaveProperty('fsGroup');
  });

  test('is absent where a secret lies in the agent’s container', () => {
    const one = rendered('combined', 'credentials: { secret: keys }');
    expect(one.pod.spec.securityContext).not.toHaveProperty('fsGroup');
    expect(one.pod.spec.volumes?.find(({ secret }) => secret !== undefined)?.secret?.defaultMode).toBe(0o400);
  });
});

describe('what the agent of a sidecar pod has of castellan', () => {
  test('is its program and the way to the control socket, read-only, and a directory of its own', () => {
    const own = (
      named(rendered('sidecar', 'credentials: { secret: keys }'), 'agent').volumeMounts ?? []
    ).filter(({ name }) => name.startsWith('castellan-'));
    expect(own.map(({ name, readOnly }) => [name, readOnly === true])).toEqual([
      ['castellan-bin', true],
      ['castellan-pod', true],
      ['castellan-run', false],
    ]);
  });
});
