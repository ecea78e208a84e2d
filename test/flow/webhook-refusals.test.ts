/** What the webhook refuses: pods that cannot be made safe, and bodies that are no review. */
import { describe, expect, it } from 'vitest';
import { LAST_CASE, podOf, reviewOf } from '../fakes/admission.ts';
import { api, lines, open, post, review } from './webhook-world.ts';

describe('a pod is refused', () => {
  const rows: readonly {
    name: string;
    annotations?: Record<string, string>;
    spec?: Record<string, unknown>;
    container?: Record<string, unknown>;
    configuration?: string;
    message: RegExp;
  }[] = [
    {
      name: 'that says neither yes nor no',
      annotations: { 'castellan/inject': 'yes' },
      message: /inject is neither/,
    },
    {
      name: 'with a mistyped annotation',
      annotations: { 'castellan/polcy': 'x' },
      message: /did you mean castellan\/policy\?/,
    },
    {
      name: 'that chooses its privileges',
      annotations: { 'castellan/topology': 'combined' },
      message: /topology is not a pod’s to choose/,
    },
    {
      name: 'that chooses an image',
      annotations: { 'castellan/image': 'evil:1' },
      message: /image is unknown/,
    },
    {
      name: 'that chooses the proxy’s uid',
      annotations: { 'castellan/proxy-uid': '1000680000' },
      message: /unknown/,
    },
    {
      name: 'with a policy that is no name',
      annotations: { 'castellan/policy': '../x' },
      message: /no name of Kubernetes/,
    },
    {
      name: 'with two containers and no word which is the agent’s',
      spec: {
        containers: [
          { name: 'a', command: ['a'] },
          { name: 'b', command: ['b'] },
        ],
      },
      message: /castellan/,
    },
    {
      name: 'on the host’s network',
      spec: { hostNetwork: true },
      message: /hostNetwork would show the host/,
    },
    {
      name: 'that asks for the token',
      spec: { automountServiceAccountToken: true },
      message: /token of the API server/,
    },
    {
      name: 'with parts that only look like castellan’s',
      spec: { volumes: [{ name: 'castellan-bin', emptyDir: {} }] },
      message: /not what castellan would put there/,
    },
    {
      name: 'that chooses the way out of the network',
      annotations: { 'castellan/upstream-proxy': 'http://evil:3128' },
      message: /upstream-proxy is unknown/,
    },
    {
      name: 'that wants nothing seeded',
      annotations: { 'castellan/seed': 'true', 'castellan/workdir': '/data' },
      message: /no volume at \/data/,
    },
    {
      name: 'that wants a container seeded that it has not',
      annotations: { 'castellan/seed': 'true', 'castellan/container': 'agnet' },
      message: /the pod has no container agnet/,
    },
    {
      name: 'that wants a part of a volume seeded',
      annotations: { 'castellan/seed': 'true', 'castellan/workdir': '/data' },
      container: { volumeMounts: [{ name: 'data', mountPath: '/data', subPath: 'mine' }] },
      spec: { volumes: [{ name: 'data', emptyDir: {} }] },
      message: /cannot be seeded/,
    },
    {
      name: 'with a routes’ Secret that is no name',
      annotations: { 'castellan/inference-routes': '../x' },
      message: /no name of Kubernetes/,
    },
    {
      name: 'that is static',
      annotations: { 'kubernetes.io/config.mirror': 'x' },
      message: /started by its kubelet/,
    },
    {
      name: 'with more containers than anybody needs',
      spec: { containers: Array.from({ length: 10_000 }, (_, index) => ({ name: `c${index}` })) },
      message: /more than 100 containers/,
    },
    {
      name: 'that chooses a uid of others',
      annotations: { 'castellan/identity': '1000690000' },
      configuration: 'pods_may_choose: [identity]',
      message: /1000690000 of castellan\/identity is outside of the namespace’s 1000680000 to 1000689999/,
    },
    {
      name: 'that chooses to be root',
      annotations: { 'castellan/identity': '0:0' },
      configuration: 'pods_may_choose: [identity]',
      message: /outside/,
    },
    { name: 'that would be the proxy', configuration: 'proxy_uid: 1000680000', message: /the proxy's/ },
  ];
  it.each(rows)('$name', async ({ annotations = {}, spec = {}, container = {}, configuration, message }) => {
    const { response } = await review(
      await open(configuration),
      LAST_CASE,
      podOf(LAST_CASE, { annotations, spec, container }),
    );
    expect(response).toMatchObject({ allowed: false, status: { code: 403, reason: 'Forbidden' } });
    expect(response.status?.message).toMatch(/^castellan \((manifest|identity)_invalid\): /);
    expect(response.status?.message).toMatch(message);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^pod agents\/agent-6d4cf56db6-\* refused \(/);
    expect(lines[0]).not.toContain('hunter2');
  });

  it('of a namespace that cannot be read, and never gets a default', async () => {
    const hook = await open();
    api.instead = 'forbidden';
    const { response } = await review(hook, LAST_CASE, podOf(LAST_CASE));
    expect(response).toMatchObject({
      allowed: false,
      status: { code: 503, message: expect.stringMatching(/^castellan \(namespace_unavailable\): .*403/) },
    });
    api.instead = undefined;
    expect((await review(hook, LAST_CASE, podOf(LAST_CASE))).response.allowed).toBe(true);
  });

  it('where no API server is there to be asked', async () => {
    const { response } = await review(await open('', false), LAST_CASE, podOf(LAST_CASE));
    expect(response.status?.message).toMatch(/no service account/);
  });

  it('of a namespace with an annotation that is malformed', async () => {
    api.namespaces.set('agents', { 'openshift.io/sa.scc.uid-range': 'many' });
    const { response } = await review(await open(), LAST_CASE, podOf(LAST_CASE));
    expect(response.status?.message).toMatch(/^castellan \(identity_invalid\): .*uid-range/);
  });
});

describe('a body that is no review', () => {
  const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  const json = (change: (review: { request: Record<string, unknown> }) => unknown) => {
    const whole = reviewOf(LAST_CASE, podOf(LAST_CASE)) as { request: Record<string, unknown> };
    return JSON.stringify(change(whole));
  };
  const rows: readonly { name: string; body: string; message: RegExp }[] = [
    { name: 'is no JSON', body: '{"kind":', message: /not JSON/ },
    { name: 'is empty', body: '', message: /not JSON/ },
    { name: 'is deep', body: deep(1_000_000), message: /deeper than 64/ },
    {
      name: 'is wide',
      body: JSON.stringify(Array.from({ length: 300_000 }, () => 0)),
      message: /more than 200000 values/,
    },
    {
      name: 'aims at prototypes',
      body: json((it) => it).replace('"status":{}', '"__proto__":{"x":1}'),
      message: /__proto__/,
    },
    {
      name: 'is of another version',
      body: json((it) => ({ ...it, apiVersion: 'admission.k8s.io/v2' })),
      message: /apiVersion/,
    },
    {
      name: 'has no uid',
      body: json((it) => ({ ...it, request: { ...it.request, uid: '' } })),
      message: /request.uid/,
    },
    {
      name: 'has a namespace that is a path',
      body: json((it) => ({ ...it, request: { ...it.request, namespace: '../secrets' } })),
      message: /request.namespace/,
    },
  ];
  it.each(rows)('$name', async ({ body, message }) => {
    const answer = await post(await open(), body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatch(message);
    expect(lines).toEqual([]);
  });

  it('and a pod of any shape is answered, with a refusal where it is none', async () => {
    const hook = await open();
    const asking = podOf(LAST_CASE) as Record<string, unknown>;
    const specs: readonly unknown[] = [
      ...[
        null,
        1,
        [],
        {},
        { containers: null },
        { containers: [null] },
        { containers: {} },
        { containers: [] },
      ],
      ...[
        { env: {} },
        { command: 'sh' },
        { volumeMounts: [null] },
        { securityContext: [] },
        { args: [1] },
      ].map((fields) => ({ containers: [{ name: 'agent', command: ['a'], ...fields }] })),
    ];
    for (const spec of specs) {
      const { response } = await review(hook, LAST_CASE, { ...asking, spec });
      expect([response.allowed, response.status?.code], JSON.stringify(spec)).toEqual([false, 403]);
    }
    for (const pod of [null, 7, 'pod', [], {}, { metadata: { annotations: [] } }]) {
      const { response } = await review(hook, LAST_CASE, pod);
      expect(response.allowed, JSON.stringify(pod)).toBe(true);
    }
  });
});
