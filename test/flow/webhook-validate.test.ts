/** What may be stored after all webhooks: what castellan gave, and nothing that somebody made of it. */
import { describe, expect, it } from 'vitest';
import { parseSandboxRequest } from '../../src/kubernetes/read-request.ts';
import { renderSandbox } from '../../src/kubernetes/render.ts';
import {
  asFilledIn,
  LAST_CASE,
  OPENSHIFT_CASE,
  type PodParts,
  podOf,
  REVIEW_CASES,
} from '../fakes/admission.ts';
import {
  admission,
  api,
  type Change,
  changed,
  container,
  injected,
  lines,
  open,
  type Pod,
  patched,
  review,
  untouched,
} from './webhook-world.ts';

const CASES = [...REVIEW_CASES, OPENSHIFT_CASE];
const CONFIGURATIONS = [
  '',
  'pull_policy: IfNotPresent\ncredentials: keys\nread_only_root: true\nhost_users: false\ninstall: image_volume',
  'topology: combined\npull_policy: Never',
  'binary_identity: none\nnative_sidecar: false\ngrace_seconds: 100',
];

describe.each(CASES)('Kubernetes $version', (of) => {
  it.each(CONFIGURATIONS)('has what castellan gave stored: %j', async (configuration) => {
    const hook = await open(configuration);
    const asking = podOf(of);
    const pod = patched(asking, await review(hook, of, asking));
    expect(await admission(hook, of, pod)).toEqual(untouched(of));
    expect(await admission(hook, of, asFilledIn(pod))).toEqual(untouched(of));
    // Both questions agree on what is castellan's: the first may be asked once more.
    expect(await review(hook, of, asFilledIn(pod))).toEqual(untouched(of));
  });

  it('does not have a pod stored that asks, and that nobody changed', async () => {
    const hook = await open();
    const { response } = await admission(hook, of, podOf(of));
    expect(response).toMatchObject({
      allowed: false,
      status: {
        code: 403,
        message: expect.stringMatching(
          /asks for castellan \(castellan\/inject\), and castellan is not in it/,
        ),
      },
    });
    expect(lines).toEqual([
      expect.stringMatching(/^pod agents\/agent-6d4cf56db6-\* refused \(manifest_invalid\)/),
    ]);
  });

  it('has pods stored that have nothing to do with castellan, of whatever shape, and asks nobody', async () => {
    const hook = await open();
    const silent = changed(podOf(of) as unknown as Pod, ({ metadata }) => delete metadata.annotations);
    const declining = podOf(of, { annotations: { 'castellan/inject': 'false' } });
    const future = { ...silent, spec: { containers: { agent: {} }, volumes: 'none' } };
    for (const pod of [silent, declining, future, {}, null, 7])
      expect(await admission(hook, of, pod)).toEqual(untouched(of));
    expect(api.asked).toEqual([]);
    expect(lines).toEqual([]);
  });
});

describe('a pod that another webhook changed after castellan, and not castellan’s', () => {
  const harmless: readonly { name: string; change: Change; configuration?: string }[] = [
    { name: 'has labels', change: ({ metadata }) => Object.assign(metadata.labels, { team: 'a' }) },
    {
      name: 'has annotations',
      change: ({ metadata }) => Object.assign(metadata.annotations, { 'a.b/c': 'd' }),
    },
    {
      name: 'is elsewhere',
      change: ({ spec }) =>
        Object.assign(spec, {
          nodeName: 'n1',
          nodeSelector: { zone: 'a' },
          tolerations: [{ operator: 'Exists' }],
          priority: 7,
          runtimeClassName: 'kata',
          schedulerName: 'other',
          imagePullSecrets: [{ name: 'registry' }],
          dnsConfig: { options: [{ name: 'ndots', value: '1' }] },
          serviceAccountName: 'other',
        }),
    },
    {
      name: 'is given longer to end',
      change: ({ spec }) => Object.assign(spec, { terminationGracePeriodSeconds: 3600 }),
    },
    {
      name: 'may use less, and change that',
      change: ({ spec }) => {
        for (const one of spec.initContainers)
          Object.assign(one, {
            resources: { limits: { cpu: '1' } },
            resizePolicy: [{ resourceName: 'cpu' }],
          });
      },
    },
    {
      name: 'has every image pulled (AlwaysPullImages)',
      configuration: 'pull_policy: IfNotPresent\ninstall: image_volume',
      change: ({ spec }) => {
        for (const one of [...spec.initContainers, ...spec.containers]) one.imagePullPolicy = 'Always';
        for (const { image } of spec.volumes) if (image !== undefined) image.pullPolicy = 'Always';
      },
    },
    {
      name: 'has a sidecar that castellan fenced',
      configuration: 'companions: fenced',
      change: ({ metadata, spec }) => {
        metadata.annotations['castellan/container'] = 'agent';
        spec.containers.push({
          name: 'side',
          image: 'x',
          securityContext: {
            ...container({ spec }, 'agent').securityContext,
            readOnlyRootFilesystem: undefined,
          },
        });
      },
    },
    {
      name: 'does not ask any more',
      change: ({ metadata }) => delete metadata.annotations['castellan/inject'],
    },
    {
      name: 'asks for the contrary',
      change: ({ metadata }) => Object.assign(metadata.annotations, { 'castellan/inject': 'false' }),
    },
    {
      name: 'has a name',
      change: ({ metadata }) => Object.assign(metadata, { name: 'a', generateName: undefined }),
    },
    { name: 'names no namespace', change: ({ metadata }) => delete metadata.namespace },
    { name: 'belongs to nobody', change: ({ metadata }) => delete metadata.ownerReferences },
  ];
  it.each(harmless)('is stored: $name', async ({ change, configuration }) => {
    const { hook, pod } = await injected(configuration);
    expect(await admission(hook, LAST_CASE, changed(pod, change))).toEqual(untouched(LAST_CASE));
  });

  it('is not stored where nobody can say whom it may run as', async () => {
    const { pod } = await injected();
    const { response } = await admission(await open('', false), LAST_CASE, pod);
    expect(response.status).toMatchObject({
      code: 503,
      message: expect.stringMatching(/namespace_unavailable/),
    });
  });

  it('is judged by the namespace of the review', async () => {
    const { hook, pod } = await injected();
    api.namespaces.set('others', { 'openshift.io/sa.scc.uid-range': '1000990000/10000' });
    const { response } = await admission(hook, LAST_CASE, pod, { namespace: 'others' });
    expect(response.status?.message).toMatch(/not what castellan would put there/);
  });

  it('is told apart on a trial too', async () => {
    const { hook, pod } = await injected();
    expect((await admission(hook, LAST_CASE, pod, { dryRun: true })).response.allowed).toBe(true);
    expect((await admission(hook, LAST_CASE, podOf(LAST_CASE), { dryRun: true })).response.allowed).toBe(
      false,
    );
  });
});

describe('a pod whatever its author wrote', () => {
  const lookedUp = (fieldPath: string) => ({
    name: 'WHO',
    valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } },
  });
  const rows: readonly [string, PodParts, string?][] = [
    [
      'says what castellan would not',
      { spec: { shareProcessNamespace: false, hostUsers: true, hostNetwork: false } },
    ],
    [
      'says it where castellan says the contrary',
      { spec: { shareProcessNamespace: false } },
      'topology: combined',
    ],
    [
      'has a variable twice',
      {
        container: {
          env: [
            lookedUp('metadata.name'),
            { name: 'A', value: '--env' },
            { name: 'B', value: '$(WHO)' },
            lookedUp('metadata.uid'),
          ],
        },
      },
    ],
    [
      'has arguments like castellan’s',
      { container: { command: ['sh', '--env', 'A=B', '--', '--env', 'C'] } },
    ],
    ['has ports', { container: { ports: [{ containerPort: 80, protocol: 'TCP' }] } }, 'topology: combined'],
    [
      'has storage',
      {
        spec: { volumes: [{ name: 'work', persistentVolumeClaim: { claimName: 'work' } }] },
        container: { volumeMounts: [{ name: 'work', mountPath: '/sandbox' }] },
      },
    ],
    ['has time', { spec: { terminationGracePeriodSeconds: 0 } }],
    [
      'has neighbours',
      {
        annotations: { 'castellan/container': 'agent' },
        spec: { initContainers: [{ name: 'first', image: 'x', resources: {} }] },
      },
      'companions: fenced',
    ],
    [
      'has labels for SELinux',
      {
        spec: {
          securityContext: { seLinuxOptions: { level: 's0:c1' }, fsGroup: 1_000_680_000, runAsUser: 5 },
        },
      },
    ],
  ];
  it.each(rows)('is stored as castellan gave it: %s', async (_name, parts, configuration) => {
    const { hook, pod } = await injected(configuration, parts);
    for (const one of [pod, asFilledIn(pod)]) {
      expect(await admission(hook, LAST_CASE, one)).toEqual(untouched(LAST_CASE));
      expect(await review(hook, LAST_CASE, one)).toEqual(untouched(LAST_CASE));
    }
  });
});

describe('a pod of castellan kubernetes render, which does not ask', () => {
  const request = (more: string) =>
    parseSandboxRequest(
      `name: a\nimage: agent:1\ncommand: [agent]\npolicy: { config_map: p }\ncastellan: { image: "castellan:1" }\n${more}`,
      'r',
    );
  const rendered = (more: string) => {
    const facts = { namespace: { kind: 'unknown' }, kind: 'Pod', withScc: false } as const;
    const { documents } = renderSandbox(request(more), facts);
    return documents.find(({ kind }) => kind === 'Pod');
  };

  it('is stored where it is what the webhook would have made', async () => {
    const { hook, pod } = await injected();
    const silent = changed(pod, ({ metadata }) => delete metadata.annotations['castellan/inject']);
    expect(await admission(hook, LAST_CASE, silent)).toEqual(untouched(LAST_CASE));
    const same = await open(
      'topology: combined\napp_armor: Unconfined\npolicy: p\nsandbox_uid: 7\nsandbox_gid: 7',
    );
    expect(await admission(same, LAST_CASE, rendered('sandbox_uid: 7\nsandbox_gid: 7'))).toEqual(
      untouched(LAST_CASE),
    );
  });

  it.each([
    ['topology: combined', /annotation castellan\/topology is not a pod’s to choose here/],
    ['topology: sidecar', /not what castellan would put there: spec\./],
    ['identity: platform', /castellan\/topology/],
  ])('is refused where it is not, with what to do about it: %s', async (more, message) => {
    const { response } = await admission(await open(), LAST_CASE, rendered(more));
    expect(response.status?.message).toMatch(message);
    expect(response.status?.message).toMatch(
      /; the pod has castellan and no castellan\/inject: leave castellan out .* put the namespace among its excludedNamespaces$/,
    );
  });
});
