/** Every single change that somebody could make to a pod after castellan: which of them are stored is a short list. */

import { applyPatch } from 'rfc6902';
import { describe, expect, it } from 'vitest';
import { CastellanError } from '../../../../src/errors.ts';
import { withoutNulls } from '../../../../src/kubernetes/plain.ts';
import { parseWebhookConfiguration } from '../../../../src/kubernetes/webhook/configuration.ts';
import { podToAdmit, refuseUnlessSupervised } from '../../../../src/kubernetes/webhook/final.ts';
import { changePod, choicesOf, podToChange } from '../../../../src/kubernetes/webhook/judge.ts';
import { type AdmissionReview, parseReview } from '../../../../src/kubernetes/webhook/review.ts';
import { LAST_CASE, type PodParts, podOf, reviewOf } from '../../../fakes/admission.ts';

type Json = { [key: string]: Json } & Json[];
const NAMESPACE = { kind: 'unknown' } as const;

function reviewed(pod: unknown): AdmissionReview {
  const review = parseReview(JSON.stringify(reviewOf(LAST_CASE, pod)));
  if ('problem' in review) throw new Error(review.problem);
  return review;
}

function configurationOf(text: string) {
  return parseWebhookConfiguration(
    `version: 1\nimage: castellan:1\nsandbox_uid: 2000\nsandbox_gid: 3000\n${text}`,
    'f',
  );
}

function injected(configuration: ReturnType<typeof configurationOf>, parts: PodParts = {}): Json {
  const asking = withoutNulls(podOf(LAST_CASE, parts));
  const pod = podToChange(reviewed(asking));
  if (pod === undefined) throw new Error('the pod does not ask');
  const operations = changePod(pod, choicesOf(pod, configuration), configuration, NAMESPACE);
  applyPatch(asking, structuredClone(operations) as Parameters<typeof applyPatch>[1]);
  return asking as Json;
}

function isStored(pod: unknown, configuration: ReturnType<typeof configurationOf>): boolean {
  try {
    const found = podToAdmit(reviewed(pod), configuration);
    if (found !== undefined)
      refuseUnlessSupervised(found, choicesOf(found, configuration), configuration, NAMESPACE);
    return true;
  } catch (error) {
    if (error instanceof CastellanError) return false;
    throw error;
  }
}

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
  const at = (copy: Json, path: readonly string[]) => path.reduce((value, key) => value[key] as Json, copy);
  return [...placesOf(pod)].flatMap((path) => {
    const key = path.at(-1) ?? '';
    // Without an empty text it is the same.
    const ways = at(pod, path) === ('' as unknown) ? (['other'] as const) : (['without', 'other'] as const);
    return ways.map((how) => {
      const copy = structuredClone(pod);
      const holder = at(copy, path.slice(0, -1));
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
/** The agent's own command, and the variables that it gets. */
const AGENTS = /^(MODE=hunter2|\/usr\/bin\/agent|--work)$/;

describe.each([
  '',
  'topology: combined',
  'binary_identity: none\nnative_sidecar: false\ncredentials: keys',
  'install: image_volume\nread_only_root: true',
])('of a pod by %j', (text) => {
  const configuration = configurationOf(text);
  const pod = injected(configuration);
  const isOthers = (path: readonly string[]) => {
    const [spec, list, index, args, at] = path;
    if (spec === 'spec' && list === 'containers' && index === '0' && args === 'args')
      return (
        at === undefined || AGENTS.test(String(pod['spec']?.['containers']?.[0]?.['args']?.[Number(at)]))
      );
    return OTHERS.some((pattern) => pattern.test(path.join('.')));
  };

  it('nothing that is castellan’s may be changed or left out', () => {
    expect(isStored(pod, configuration)).toBe(true);
    const all = changesOf(pod);
    expect(all.length).toBeGreaterThan(400);
    const stored = all.filter((change) => isStored(change.pod, configuration));
    expect(stored.filter(({ path }) => !isOthers(path)).map(({ name }) => name)).toEqual([]);
    expect(stored.length).toBeGreaterThan(50);
  });

  it('nothing may be put in under castellan’s names', () => {
    for (const list of ['containers', 'initContainers', 'volumes', 'ephemeralContainers'])
      for (const name of ['castellan-network', 'castellan-seed', 'castellan-policy', 'castellan-x']) {
        const more = structuredClone(pod);
        const spec = more['spec'] as Json;
        spec[list] = [...(spec[list] ?? []), { name, command: ['/opt/castellan/bin/castellan'] }] as Json;
        expect(isStored(more, configuration), `${name} among ${list}`).toBe(false);
      }
  });
});

describe('a pod as long as its author likes', () => {
  const configuration = configurationOf('');
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
    const pod = injected(configuration, parts);
    const began = performance.now();
    expect(isStored(pod, configuration)).toBe(true);
    // What is quadratic took 45 s here; the rest is for a loaded machine.
    expect(performance.now() - began).toBeLessThan(5000);
  });
});
