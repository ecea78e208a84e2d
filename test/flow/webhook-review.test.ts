/** Reviews over HTTPS, as each version of Kubernetes sends them: what comes back, and what a pod is when it has been applied. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parseManifest } from '../../src/kubernetes/manifest.ts';
import { validateManifest } from '../../src/kubernetes/validate.ts';
import {
  asFilledIn,
  LAST_CASE,
  OPENSHIFT_CASE,
  podOf,
  REVIEW_CASES,
  type ReviewParts,
  reviewOf,
} from '../fakes/admission.ts';
import { api, authority, file, lines, open, patched, review, untouched } from './webhook-world.ts';

describe.each([...REVIEW_CASES, OPENSHIFT_CASE])('Kubernetes $version', (of) => {
  it('gets castellan into a pod that asks, in the version of its question, and only once', async () => {
    const hook = await open();
    const pod = podOf(of);
    const answer = await review(hook, of, pod);
    expect([answer.apiVersion, answer.response.uid]).toEqual([of.apiVersion, untouched(of).response.uid]);
    const changed = patched(pod, answer);
    const [agent] = changed.spec.containers;
    expect(agent?.command).toEqual(['/opt/castellan/bin/castellan']);
    expect(agent?.args.slice(-2)).toEqual(['/usr/bin/agent', '--work']);
    expect(changed.spec.initContainers.map(({ name }) => name)).toEqual([
      'castellan-install',
      'castellan-fence',
      'castellan-network',
    ]);
    expect(changed.metadata.annotations).toMatchObject({
      'castellan/inject': 'true',
      'castellan/sandbox-uid': '1000680000 (openshift.io/sa.scc.uid-range)',
    });
    // castellan kubernetes validate --require-castellan; it knows the fields of today.
    const manifest = parseManifest(JSON.stringify(changed), 'pod.json');
    const reports = validateManifest(manifest, { podSecurity: undefined, supervised: true });
    const findings = reports.flatMap((report) => report.findings);
    expect(findings.filter(({ path }) => !path.includes('fieldOfTomorrow'))).toEqual([]);
    expect(reports.map(({ supervised }) => supervised)).toEqual([true]);
    // Reinvocation, and a copy of the pod.
    expect(await review(hook, of, changed)).toEqual(untouched(of));
  });

  it('is left alone when others have added their defaults to what castellan put in', async () => {
    const hook = await open();
    const pod = podOf(of);
    const changed = patched(pod, await review(hook, of, pod));
    expect(await review(hook, of, asFilledIn(changed))).toEqual(untouched(of));
  });

  it('has no token of the API server left in the pod', async () => {
    const pod = podOf(of);
    const changed = patched(pod, await review(await open(), of, pod));
    expect(JSON.stringify(changed.spec)).not.toMatch(/serviceAccountToken|default-token|kube-api-access/);
    expect(changed.spec.automountServiceAccountToken).toBe(false);
  });

  it('keeps every field that castellan has nothing to do with', async () => {
    const pod = podOf(of);
    const { response } = await review(await open(), of, pod);
    const operations: { op: string; path: string }[] = JSON.parse(
      Buffer.from(response.patch ?? '', 'base64').toString(),
    );
    const touched = operations.map(({ path }) => path.split('/').slice(1, 3).join('/'));
    const mine =
      /^(metadata\/annotations|spec\/(containers|initContainers|volumes|securityContext|restartPolicy|automountServiceAccountToken|enableServiceLinks|shareProcessNamespace))$/;
    for (const path of touched) expect(path).toMatch(mine);
    expect(operations.filter(({ path }) => path === '/spec/containers/0')).toEqual([]);
  });

  it('is left alone where a pod does not ask', async () => {
    const hook = await open();
    expect(await review(hook, of, podOf(of, { annotations: { 'castellan/inject': 'false' } }))).toEqual(
      untouched(of),
    );
    const silent = podOf(of) as { metadata: object };
    const { annotations: _, ...metadata } = silent.metadata as { annotations: object };
    expect(await review(hook, of, { ...silent, metadata })).toEqual(untouched(of));
    expect(api.asked).toEqual([]);
    expect(lines).toEqual([]);
  });
});

describe('what is none of castellan’s business', () => {
  const rows: readonly { name: string; parts: ReviewParts; object?: unknown }[] = [
    { name: 'an update of a pod', parts: { operation: 'UPDATE' } },
    { name: 'an ephemeral container', parts: { operation: 'UPDATE', subResource: 'ephemeralcontainers' } },
    { name: 'the end of a pod', parts: { operation: 'DELETE' }, object: null },
    {
      name: 'exec',
      parts: {
        operation: 'CONNECT',
        subResource: 'exec',
        kind: { group: '', version: 'v1', kind: 'PodExecOptions' },
      },
    },
    { name: 'a status', parts: { operation: 'UPDATE', subResource: 'status' } },
    {
      name: 'another kind',
      parts: {
        kind: { group: 'apps', version: 'v1', kind: 'Deployment' },
        resource: { group: 'apps', version: 'v1', resource: 'deployments' },
      },
    },
  ];
  it.each(rows)('$name is left alone', async ({ parts, object }) => {
    const pod = object === undefined ? podOf(LAST_CASE) : object;
    expect(await review(await open(), LAST_CASE, pod, parts)).toEqual(untouched(LAST_CASE));
  });
});

describe('choices', () => {
  it('of a pod win where it may choose, within its namespace', async () => {
    const pod = podOf(LAST_CASE, {
      annotations: {
        'castellan/policy': 'other.policy',
        'castellan/credentials': 'keys',
        'castellan/workdir': '/work',
        'castellan/container': 'agent',
        'castellan/identity': '1000680007:1000680008',
        'castellan/topology': 'combined',
      },
    });
    const hook = await open('pods_may_choose: [policy, credentials, workdir, container, identity, topology]');
    const changed = patched(pod, await review(hook, LAST_CASE, pod));
    expect(changed.spec.volumes).toContainEqual(
      expect.objectContaining({ configMap: expect.objectContaining({ name: 'other.policy' }) }),
    );
    expect(changed.spec.volumes).toContainEqual(
      expect.objectContaining({ secret: expect.objectContaining({ secretName: 'keys' }) }),
    );
    expect(changed.spec.containers[0]?.args).toEqual(expect.arrayContaining(['--workdir', '/work']));
    expect(changed.metadata.annotations).toMatchObject({
      'castellan/sandbox-uid': '1000680007 (castellan/identity)',
      'castellan/sandbox-gid': '1000680008 (castellan/identity)',
      'castellan/topology': 'combined',
    });
    expect(await review(hook, LAST_CASE, changed)).toEqual(untouched(LAST_CASE));
  });

  it('of the operator reach the sidecar, and the pod only where they are the pod’s', async () => {
    const hook = await open(`upstream_proxy: { url: "https://proxy:3128", auth: { secret: proxy } }
inference_routes: routes
health_port: 9000
metrics_port: 9001
reload: watch
resources: { limits: { memory: 1Gi } }
`);
    const pod = podOf(LAST_CASE);
    const changed = patched(pod, await review(hook, LAST_CASE, pod));
    const container = (name: string) =>
      (changed.spec.initContainers as { name: string; args?: string[] }[]).find((one) => one.name === name);
    expect(container('castellan-network')).toMatchObject({
      resources: { limits: { memory: '1Gi' } },
      ports: [{ containerPort: 9000 }, { containerPort: 9001 }],
      livenessProbe: { httpGet: { port: 9000 } },
    });
    const args = container('castellan-network')?.args ?? [];
    const told = ['--upstream-proxy', 'https://proxy:3128', '--reload', 'watch', '--inference-routes'];
    expect(args).toEqual(expect.arrayContaining(told));
    expect(args).toContain('/etc/castellan-secrets/proxy-auth/auth');
    expect(container('castellan-fence')?.args?.join(' ')).toMatch(
      /--allow-inbound 9000 --allow-inbound 9001/,
    );
    // The agent's container hears of none of it.
    expect(JSON.stringify(changed.spec.containers)).not.toMatch(/proxy:3128|castellan-secrets|900[01]/);
    expect(await review(hook, LAST_CASE, changed)).toEqual(untouched(LAST_CASE));
  });

  it('of a pod to have its workspace seeded fill the volume that is there, before the agent starts', async () => {
    const hook = await open();
    const annotations = { 'castellan/seed': 'true', 'castellan/workdir': '/data' };
    const mounted = { volumeMounts: [{ name: 'data', mountPath: '/data' }] };
    const spec = { volumes: [{ name: 'data', emptyDir: {} }] };
    const pod = podOf(LAST_CASE, { annotations, spec, container: mounted });
    const changed = patched(pod, await review(hook, LAST_CASE, pod));
    const names = changed.spec.initContainers.map(({ name }) => name);
    expect(names.slice(2, 4)).toEqual(['castellan-network', 'castellan-seed']);
    expect(changed.spec.initContainers[3]).toMatchObject({
      args: ['seed', '/data', '/castellan-seed'],
      volumeMounts: expect.arrayContaining([{ name: 'data', mountPath: '/castellan-seed' }]),
    });
    expect(await review(hook, LAST_CASE, changed)).toEqual(untouched(LAST_CASE));
  });

  it('of the operator need no namespace', async () => {
    const hook = await open('sandbox_uid: 2147483647\nsandbox_gid: 1000680000', false);
    const pod = podOf(LAST_CASE);
    const { metadata } = patched(pod, await review(hook, LAST_CASE, pod));
    expect(metadata.annotations['castellan/sandbox-uid']).toBe('2147483647 (sandbox_uid)');
  });
});

describe('curl', () => {
  it('has a pod changed, as anybody can try', async () => {
    const { address } = await open();
    writeFileSync(file('review.json'), JSON.stringify(reviewOf(LAST_CASE, podOf(LAST_CASE))));
    const url = `https://127.0.0.1:${address.port}/mutate`;
    const header = ['-H', 'Content-Type: application/json'];
    const { stdout } = await promisify(execFile)('curl', [
      ...[
        '-sS',
        '--fail',
        '--cacert',
        authority.path,
        ...header,
        '--data-binary',
        `@${file('review.json')}`,
        url,
      ],
    ]);
    expect(JSON.parse(stdout).response).toMatchObject({ allowed: true, patchType: 'JSONPatch' });
  });
});
