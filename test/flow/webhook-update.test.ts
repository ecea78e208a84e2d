/** What may become of a pod after it was made: castellan's stays as it was, and nothing joins it. */
import { describe, expect, it } from 'vitest';
import { LAST_CASE, podOf } from '../fakes/admission.ts';
import {
  admission,
  api,
  type Change,
  changed,
  container,
  injected,
  open,
  type Pod,
  untouched,
} from './webhook-world.ts';

describe('an update of a pod that has castellan', () => {
  const UPDATE = { operation: 'UPDATE' };
  const update = async (change: Change, before: Change = () => {}) => {
    const { pod } = await injected();
    const oldObject = changed(pod, before);
    // The webhook of today may make other pods than the one of then.
    const hook = await open('proxy_uid: 4242');
    return admission(hook, LAST_CASE, changed(oldObject, change), { ...UPDATE, oldObject });
  };
  const refused: readonly [string, Change, RegExp][] = [
    [
      'of castellan’s image',
      (pod) => Object.assign(container(pod, 'castellan-network'), { image: 'evil:1' }),
      /spec\.initContainers\[2\]\.image of container castellan-network stays as it was made.*; make a new pod/,
    ],
    [
      'of the agent’s image',
      (pod) => Object.assign(container(pod, 'agent'), { image: 'agent:2' }),
      /spec\.containers\[0\]\.image of container agent stays .*start it again, whatever restartPolicy says/,
    ],
    [
      'of what no version of Kubernetes lets anybody change today',
      ({ spec }) => Object.assign(spec, { hostNetwork: true }),
      /spec\.hostNetwork stays as it was made/,
    ],
    [
      'of the time that castellan has to end',
      ({ spec }) => Object.assign(spec, { terminationGracePeriodSeconds: 1 }),
      /spec\.terminationGracePeriodSeconds stays/,
    ],
    [
      'of a choice',
      ({ metadata }) => Object.assign(metadata.annotations, { 'castellan/policy': 'x' }),
      /annotation castellan\/policy of a pod that has castellan stays/,
    ],
    [
      'that takes the question away',
      ({ metadata }) => delete metadata.annotations['castellan/inject'],
      /castellan\/inject/,
    ],
    [
      'that takes all annotations away',
      ({ metadata }) => delete metadata.annotations,
      /annotation castellan\//,
    ],
    [
      'that takes castellan out',
      ({ spec }) => Object.assign(spec, { initContainers: [], volumes: [], containers: [{ name: 'agent' }] }),
      /spec\.\w+.* stays/,
    ],
  ];
  it.each(refused)('is refused: %s', async (_name, change, message) => {
    const { response } = await update(change);
    expect(response).toMatchObject({ allowed: false, status: { code: 403 } });
    expect(response.status?.message).toMatch(message);
  });

  const allowed: readonly [string, Change][] = [
    ['that changes nothing', () => {}],
    [
      'of labels, finalizers and owners',
      ({ metadata }) => Object.assign(metadata, { labels: {}, finalizers: ['a/b'], ownerReferences: [] }),
    ],
    ['of other annotations', ({ metadata }) => Object.assign(metadata.annotations, { 'a.b/c': 'd' })],
    ['of when it ends', ({ spec }) => Object.assign(spec, { activeDeadlineSeconds: 5 })],
    ['of tolerations', ({ spec }) => spec.tolerations.push({ operator: 'Exists' })],
    [
      'of gates and nodes',
      ({ spec }) =>
        Object.assign(spec, { schedulingGates: undefined, nodeSelector: { a: 'b' }, affinity: {} }),
    ],
    [
      'of how much it may use',
      (pod) => Object.assign(container(pod, 'agent'), { resources: { requests: { cpu: '3' } } }),
    ],
    ['of its state', (pod) => Object.assign(pod, { status: { phase: 'Running' } })],
  ];
  it.each(allowed)('is stored: %s', async (_name, change) => {
    expect(await update(change)).toEqual(untouched(LAST_CASE));
  });

  it('is stored although the pod is not what castellan would make today, so that it can end', async () => {
    const finalized: Change = ({ metadata }) => Object.assign(metadata, { finalizers: [] });
    const older: Change = (pod) =>
      Object.assign(container(pod, 'castellan-network'), { image: 'castellan:0' });
    expect(await update(finalized, older)).toEqual(untouched(LAST_CASE));
    expect(api.asked).toEqual(['/api/v1/namespaces/agents']);
  });

  it('is refused where it comes without the pod of before', async () => {
    const { hook, pod } = await injected();
    for (const oldObject of [null, {}, { spec: 7 }]) {
      const { response } = await admission(hook, LAST_CASE, pod, { ...UPDATE, oldObject });
      expect(response.allowed).toBe(false);
    }
  });
});

describe('an update of a pod without castellan', () => {
  const update = async (annotations: Record<string, string>, before: Record<string, string>) => {
    const parts = {
      operation: 'UPDATE',
      oldObject: { ...podOf(LAST_CASE), metadata: { annotations: before } },
    };
    return admission(await open(), LAST_CASE, { ...podOf(LAST_CASE), metadata: { annotations } }, parts);
  };
  const [asks, declines] = [{ 'castellan/inject': 'true' }, { 'castellan/inject': 'false' }];

  it.each([
    [{}, {}],
    [asks, asks],
    [{}, asks],
    [declines, asks],
    [declines, {}],
    [{ 'castellan/inject': 'odd' }, { 'castellan/inject': 'odd' }],
  ])('is stored: %j after %j', async (after, before) => {
    expect(await update(after, before)).toEqual(untouched(LAST_CASE));
  });

  it.each([
    [asks, {}, /a pod that is there gets castellan no more/],
    [asks, declines, /a pod that is there gets castellan no more/],
    [{ 'castellan/inject': 'odd' }, {}, /neither "true" nor "false"/],
  ])('is refused where it begins to ask: %j after %j', async (after, before, message) => {
    const { response } = await update(after as Record<string, string>, before as Record<string, string>);
    expect(response.status?.message).toMatch(message);
  });
});

describe('ephemeral containers', () => {
  const debug = { name: 'debugger', image: 'busybox', securityContext: { runAsUser: 1337 } };
  const JOIN = { operation: 'UPDATE', subResource: 'ephemeralcontainers' };
  const joined = (pod: unknown) =>
    changed(pod as Pod, ({ metadata, spec }) => {
      delete metadata.annotations;
      spec.ephemeralContainers = [debug];
    });

  it('do not join a pod that has castellan, whatever became of its annotations', async () => {
    const { hook, pod } = await injected();
    const { response } = await admission(hook, LAST_CASE, joined(pod), { ...JOIN, oldObject: pod });
    expect(response).toMatchObject({ allowed: false, status: { code: 403 } });
    expect(response.status?.message).toMatch(
      /^castellan \(manifest_invalid\): ephemeral container debugger would run .* outside of castellan’s confinement; use castellan ssh, or set ephemeral_containers/,
    );
  });

  it('join where the operator lets them, and pods without castellan', async () => {
    const { hook, pod } = await injected('ephemeral_containers: allow');
    expect(await admission(hook, LAST_CASE, joined(pod), JOIN)).toEqual(untouched(LAST_CASE));
    expect(await admission(await open(), LAST_CASE, joined(podOf(LAST_CASE)), JOIN)).toEqual(
      untouched(LAST_CASE),
    );
  });

  it('of whatever shape are answered, and of clusters that do not show the pod', async () => {
    const { hook, pod } = await injected();
    for (const list of [[null], {}, 'x', [{ name: 7 }]]) {
      const odd = changed(pod, ({ spec }) => Object.assign(spec, { ephemeralContainers: list }));
      expect((await admission(hook, LAST_CASE, odd, JOIN)).response.allowed).toBe(false);
    }
    const kind = { group: '', version: 'v1', kind: 'EphemeralContainers' };
    const alone = { kind: 'EphemeralContainers', ephemeralContainers: [debug] };
    const { response } = await admission(hook, LAST_CASE, alone, { ...JOIN, kind });
    expect(response.status?.message).toMatch(/v1 EphemeralContainers is no v1 Pod/);
  });
});

describe('what is none of castellan’s business', () => {
  const rows: readonly [string, Parameters<typeof admission>[3]][] = [
    ['the end of a pod', { operation: 'DELETE' }],
    ['exec', { operation: 'CONNECT', subResource: 'exec' }],
    ['a status', { operation: 'UPDATE', subResource: 'status' }],
    ['a new size', { operation: 'UPDATE', subResource: 'resize' }],
    ['a node', { operation: 'CREATE', subResource: 'binding' }],
    ['another kind', { resource: { group: 'apps', version: 'v1', resource: 'deployments' } }],
  ];
  it.each(rows)('%s is stored', async (_name, parts) => {
    const broken = changed(podOf(LAST_CASE) as unknown as Pod, ({ spec }) =>
      spec.containers.push({ name: 'castellan-x' }),
    );
    expect(await admission(await open(), LAST_CASE, broken, parts)).toEqual(untouched(LAST_CASE));
  });
});
