/** Every single change that somebody could make to a pod after castellan: which of them are stored is a short list. */

import { applyPatch } from 'rfc6902';
import { describe, expect, it } from 'vitest';
import { CastellanError } from '../../../../src/errors.ts';
import type { NamespaceFacts } from '../../../../src/kubernetes/identity.ts';
import { withoutNulls } from '../../../../src/kubernetes/plain.ts';
import { CHOICES, type Choice } from '../../../../src/kubernetes/webhook/choices.ts';
import { parseWebhookConfiguration } from '../../../../src/kubernetes/webhook/configuration.ts';
import { podToAdmit, refuseUnlessSupervised } from '../../../../src/kubernetes/webhook/final.ts';
import { changePod, choicesOf, podToChange } from '../../../../src/kubernetes/webhook/judge.ts';
import { type AdmissionReview, parseReview } from '../../../../src/kubernetes/webhook/review.ts';
import {
  asFilledIn,
  LAST_CASE,
  OPENSHIFT_CASE,
  type PodParts,
  podOf,
  reviewOf,
} from '../../../fakes/admission.ts';

type Json = { [key: string]: Json } & Json[];

function reviewed(pod: unknown): AdmissionReview {
  const review = parseReview(JSON.stringify(reviewOf(LAST_CASE, pod)));
  if ('problem' in review) throw new Error(review.problem);
  return review;
}

function configurationOf(text: string) {
  return parseWebhookConfiguration(
    `version: 1\nimage: castellan:1\n${text.includes('sandbox_uid') ? '' : 'sandbox_uid: 2000\nsandbox_gid: 3000\n'}${text}`,
    'f',
  );
}

interface Setting {
  readonly configuration: ReturnType<typeof configurationOf>;
  readonly namespace: NamespaceFacts;
}

const settingOf = (text: string, annotations?: Readonly<Record<string, string>>): Setting => ({
  configuration: configurationOf(text),
  namespace: annotations === undefined ? { kind: 'unknown' } : { kind: 'read', annotations },
});

/** What /mutate makes of a pod; undefined where it has nothing to change. */
function mutated(asking: unknown, { configuration, namespace }: Setting): Json | undefined {
  const pod = podToChange(reviewed(asking));
  if (pod === undefined) throw new Error('the pod does not ask');
  const operations = changePod(pod, choicesOf(pod, configuration), configuration, namespace);
  if (operations.length === 0) return undefined;
  const changed = structuredClone(asking);
  applyPatch(changed, structuredClone(operations) as Parameters<typeof applyPatch>[1]);
  return changed as Json;
}

function injected(setting: Setting, parts: PodParts = {}, of = LAST_CASE): Json {
  const pod = mutated(withoutNulls(podOf(of, parts)), setting);
  if (pod === undefined) throw new Error('castellan is in it already');
  return pod;
}

/** Why /validate refuses a pod; undefined where it is stored. */
function refusalOf(pod: unknown, { configuration, namespace }: Setting): string | undefined {
  try {
    const found = podToAdmit(reviewed(pod), configuration);
    if (found !== undefined)
      refuseUnlessSupervised(found, choicesOf(found, configuration), configuration, namespace);
    return undefined;
  } catch (error) {
    if (error instanceof CastellanError) return error.message;
    throw error;
  }
}

const isStored = (pod: unknown, setting: Setting) => refusalOf(pod, setting) === undefined;

/** Every place of a value, the outer ones first. */
function* placesOf(value: Json, path: readonly string[] = []): Generator<readonly string[]> {
  for (const [key, inner] of Object.entries(value)) {
    yield [...path, key];
    if (typeof inner === 'object' && inner !== null) yield* placesOf(inner, [...path, key]);
  }
}

function otherThan(value: unknown): unknown {
  if (typeof value === 'boolean') return !value;
  if (typeof value === 'number') return value + 1;
  if (typeof value === 'string') return `${value}x`;
  return Array.isArray(value) ? [...value, ...value.slice(0, 1)] : { ...Object(value), other: 'x' };
}

function changesOf(pod: Json): { name: string; path: readonly string[]; pod: Json }[] {
  const valueAt = (copy: Json, path: readonly string[]) =>
    path.reduce((value, key) => value[key] as Json, copy);
  return [...placesOf(pod)].flatMap((path) => {
    const key = path.at(-1) ?? '';
    // Without an empty text it is the same.
    const ways =
      valueAt(pod, path) === ('' as unknown) ? (['other'] as const) : (['without', 'other'] as const);
    return ways.map((how) => {
      const copy = structuredClone(pod);
      const holder = valueAt(copy, path.slice(0, -1));
      if (how === 'other') holder[key] = otherThan(holder[key]) as Json;
      else if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      return { name: `${how} ${path.join('.')}`, path, pod: copy };
    });
  });
}

/** What is the pod's author's, or whoever's he asks: castellan has nothing to do with it, or says the same of any. */
const OTHERS: readonly RegExp[] = [
  /^(kind|apiVersion|status|spec|metadata)$/,
  /^metadata\.(generateName|namespace|labels|ownerReferences|managedFields|annotations$|annotations\.castellan\/inject)/,
  /^spec\.(dnsPolicy|serviceAccount|serviceAccountName|schedulerName|tolerations|priority|resources|fieldOfTomorrow)/,
  // More time, and more in a map.
  /^spec\.(terminationGracePeriodSeconds|securityContext|containers\.0)$/,
  /^spec\.containers\.0\.(name|image|imagePullPolicy|terminationMessagePath|terminationMessagePolicy|fieldOfTomorrow)$/,
  /^spec\.(containers|initContainers)\.\d\.resources/,
];
/** What the volume is that the agent's container has at its working directory, where it has one. */
const WORK = /^spec\.(volumes\.0\.|containers\.0\.volumeMounts\.0$)/;
/** The agent's own command, and the variables that it gets. */
const AGENTS = /^(MODE=hunter2|\/usr\/bin\/agent|--work)$/;

const OPENSHIFT = { 'openshift.io/sa.scc.uid-range': '1000680000/10000' };
const ALL_CHOICES = `pods_may_choose: [${CHOICES.join(', ')}]`;
const PROXY =
  'upstream_proxy: { url: "http://proxy.x:1", no_proxy: [".a", "10.0.0.0/8"], auth: proxy, allow_insecure_auth: true, connect_by_hostname: true }';
const PORTS = 'health_port: 9000\nmetrics_port: 9001\nreload: watch';
const at = (mountPath: string, source: object = { emptyDir: {} }): PodParts => ({
  spec: { volumes: [{ name: 'work', ...source }] },
  container: { volumeMounts: [{ name: 'work', mountPath }] },
});
const choosing = (choices: Partial<Record<Choice, string>>, parts: PodParts = {}): PodParts => ({
  ...parts,
  annotations: Object.fromEntries(
    Object.entries(choices).map(([name, value]) => [`castellan/${name}`, value]),
  ),
});

const ROWS: readonly { text: string; parts?: PodParts; annotations?: typeof OPENSHIFT }[] = [
  { text: '' },
  { text: 'topology: combined' },
  { text: 'binary_identity: none\nnative_sidecar: false\ncredentials: keys' },
  { text: 'install: image_volume\nread_only_root: true' },
  {
    text: `topology: combined\n${PROXY}\n${PORTS}\napp_armor: Localhost/castellan\nread_only_root: true\nhost_users: false`,
  },
  {
    text: `${PROXY}\n${PORTS}\nbinary_identity: sidecar\nnative_sidecar: false\nresources: { limits: { memory: 1Gi } }`,
  },
  {
    text: 'workdir: /work',
    parts: choosing(
      { seed: 'true', credentials: 'mine', 'inference-routes': 'routes', policy: 'other' },
      at('/work'),
    ),
  },
  {
    text: `sandbox_uid: null\nsandbox_gid: null\n${ALL_CHOICES}`,
    parts: choosing(
      { topology: 'combined', workdir: '/data', seed: 'true', identity: '1000680005' },
      at('/data', { persistentVolumeClaim: { claimName: 'data' } }),
    ),
    annotations: OPENSHIFT,
  },
];

describe.each(ROWS)('of a pod by $text with $parts.annotations', ({ text, parts, annotations }) => {
  const setting = settingOf(text, annotations);
  const pod = injected(setting, parts);
  const isOthers = (path: readonly string[]) => {
    const [spec, list, index, args, at] = path;
    if (spec === 'spec' && list === 'containers' && index === '0' && args === 'args')
      return (
        at === undefined || AGENTS.test(String(pod['spec']?.['containers']?.[0]?.['args']?.[Number(at)]))
      );
    const others = parts?.spec === undefined ? OTHERS : [...OTHERS, WORK];
    return others.some((pattern) => pattern.test(path.join('.')));
  };

  it('nothing that is castellan’s may be changed or left out', () => {
    expect(isStored(pod, setting)).toBe(true);
    const all = changesOf(pod);
    expect(all.length).toBeGreaterThan(400);
    const stored = all.filter((change) => isStored(change.pod, setting));
    expect(stored.filter(({ path }) => !isOthers(path)).map(({ name }) => name)).toEqual([]);
    expect(stored.length).toBeGreaterThan(50);
  });

  it('nothing may be put in under castellan’s names', () => {
    for (const list of ['containers', 'initContainers', 'volumes', 'ephemeralContainers'])
      for (const name of ['castellan-network', 'castellan-seed', 'castellan-policy', 'castellan-x']) {
        const more = structuredClone(pod);
        const spec = more['spec'] as Json;
        spec[list] = [...(spec[list] ?? []), { name, command: ['/opt/castellan/bin/castellan'] }] as Json;
        expect(isStored(more, setting), `${name} among ${list}`).toBe(false);
      }
  });
});

describe('every setting with every choice', () => {
  const SETTINGS: readonly string[] = [
    '',
    PORTS,
    PROXY,
    'binary_identity: sidecar',
    `binary_identity: none\nnative_sidecar: false\n${PORTS}`,
    'read_only_root: true\nhost_users: false',
    'install: image_volume\npull_policy: Never\ncompanions: fenced',
    'credentials: keys\ninference_routes: { secret: routes, key: r }',
    'resources: { limits: { memory: 1Gi, cpu: 2 } }\ngrace_seconds: 0',
    'topology: combined',
    `topology: combined\n${PROXY}\n${PORTS}`,
    'topology: combined\ncredentials: keys\nread_only_root: true\napp_armor: RuntimeDefault',
  ];
  const CHOSEN: readonly Partial<Record<Choice, string>>[] = [
    {},
    { seed: 'true' },
    { seed: 'false', container: 'agent' },
    { credentials: 'mine', 'inference-routes': 'mine', policy: 'other' },
    { workdir: '/data', seed: 'true' },
    { topology: 'combined' },
    { topology: 'sidecar', 'binary-identity': 'sidecar', seed: 'true', credentials: 'mine' },
    { 'binary-identity': 'none' },
    { identity: '1000680005' },
    { identity: '1000680005:1000680000', topology: 'combined', seed: 'true' },
  ];
  const volumes = [{ name: 'work', emptyDir: {} }];
  const mounts = ['/sandbox', '/data'].map((mountPath) => ({ name: 'work', mountPath }));
  /** A choice that does not go with a setting is told before anything is made. */
  const CONTRADICTION =
    /^binary_identity \w+ is for the sidecar topology$|^fsGroup 1000680000, which the pod has, would make/;

  const rows = SETTINGS.flatMap((text) => [LAST_CASE, OPENSHIFT_CASE].map((of) => [text, of] as const));
  it.each(rows)('is stored as it was made, and in no other way: %j (%#)', (text, of) => {
    const setting = settingOf(`sandbox_uid: null\n${ALL_CHOICES}\n${text}`, OPENSHIFT);
    const added = {
      spec: { volumes: [...(of.spec['volumes'] as object[]), ...volumes] },
      container: { volumeMounts: [...(of.container['volumeMounts'] as object[]), ...mounts] },
    };
    let stored = 0;
    for (const choices of CHOSEN) {
      const what = JSON.stringify(choices);
      let pod: Json;
      try {
        pod = injected(setting, choosing(choices, added), of);
      } catch (error) {
        expect((error as Error).message, what).toMatch(CONTRADICTION);
        continue;
      }
      stored++;
      for (const one of [pod, asFilledIn(pod as never), asFilledIn(asFilledIn(pod as never))]) {
        expect(refusalOf(one, setting), what).toBeUndefined();
        expect(mutated(one, setting), what).toBeUndefined();
      }
      for (const { name, pod: hostile } of hostileTo(pod, choices))
        expect(isStored(hostile, setting), `${name} of ${what}`).toBe(false);
    }
    expect(stored).toBeGreaterThan(0);
  });
});

/** What an enemy would change first. */
function hostileTo(pod: Json, choices: Partial<Record<Choice, string>>): { name: string; pod: unknown }[] {
  const with_ = (name: string, change: (pod: Json) => void) => {
    const copy = structuredClone(pod);
    change(copy);
    return { name, pod: copy };
  };
  const all = (list: string) => [...((pod['spec'] as Json)[list] ?? [])];
  const isOurs = (one: Json) => String(one['name']).startsWith('castellan-');
  return [
    ...['initContainers', 'containers', 'volumes'].flatMap((list) =>
      all(list).flatMap((one, index) =>
        isOurs(one)
          ? [
              with_(`without ${one['name']}`, (copy) => copy['spec']?.[list]?.splice(index, 1)),
              with_(`${one['name']} twice`, (copy) => copy['spec']?.[list]?.push(one)),
            ]
          : [],
      ),
    ),
    ...['initContainers', 'containers'].flatMap((list) =>
      all(list).flatMap((one, index) =>
        Object.entries({
          command: ['/bin/sh'],
          args: ['run', '--', 'sh'],
          ...(isOurs(one) && { image: 'evil:1', imagePullPolicy: 'Sometimes' }),
          securityContext: { privileged: true },
          restartPolicy: 'OnFailure',
          restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'NotIn', values: [0] } }],
          lifecycle: { postStart: { exec: { command: ['sh'] } } },
          livenessProbe: { exec: { command: ['sh'] } },
          ...(isOurs(one) && { resources: { claims: [{ name: 'device' }] } }),
          terminationMessagePath: '/opt/castellan/bin/castellan',
        }).map(([key, value]) =>
          with_(`${key} of ${one['name']}`, (copy) =>
            Object.assign(copy['spec']?.[list]?.[index] as Json, { [key]: value }),
          ),
        ),
      ),
    ),
    ...Object.entries(choices)
      .filter(([choice, value]) => choice !== 'container' && value !== 'false')
      .map(([choice, value]) =>
        with_(`${choice} chosen otherwise`, (copy) =>
          Object.assign(copy['metadata']?.['annotations'] as Json, { [`castellan/${choice}`]: `${value}x` }),
        ),
      ),
  ];
}

describe('a pod as long as its author likes', () => {
  const setting = settingOf('');
  const many = <T>(make: (index: number) => T) => Array.from({ length: 15_000 }, (_, index) => make(index));
  const rows: readonly [string, PodParts][] = [
    [
      'in mounts',
      {
        spec: { volumes: many((index) => ({ name: `v${index}`, emptyDir: {} })) },
        container: { volumeMounts: many((index) => ({ name: `v${index}`, mountPath: `/data/${index}` })) },
      },
    ],
    [
      'in fields that nobody knows',
      { spec: Object.fromEntries(many((index) => [`securtyContext${index}`, 1])) },
    ],
    ['in variables', { container: { env: many((index) => ({ name: `V${index}`, value: 'x' })) } }],
  ];
  it.each(rows)('%s is judged in linear time', (_name, parts) => {
    const pod = injected(setting, parts);
    const began = performance.now();
    expect(isStored(pod, setting)).toBe(true);
    // What is quadratic took 45 s here; the rest is for a loaded machine.
    expect(performance.now() - began).toBeLessThan(5000);
  });
});
