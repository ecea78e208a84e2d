/**
 * What may be stored, once every other webhook has had its turn. Whoever is asked after castellan can change what it put in, and a pod
 * that asks may never have come to it; here a pod is as it will be. Pure.
 */
import { at } from '../../lib/json.ts';
import { joinPath } from '../field-path.ts';
import type { NamespaceFacts } from '../identity.ts';
import { injectSupervisor } from '../inject.ts';
import { METADATA_PREFIX } from '../layout.ts';
import { podSecurityViolations } from '../pod-security.ts';
import { hasCastellan } from '../recognise.ts';
import { mountFindings } from '../rules-mounts.ts';
import { supervisionFindings } from '../rules-supervision.ts';
import { asksForCastellan, INJECT_ANNOTATION, type PodChoices } from './choices.ts';
import type { WebhookConfiguration } from './configuration.ts';
import { patchBetween } from './json-patch.ts';
import {
  annotationsOf,
  isAboutPods,
  jsonOf,
  optionsOf,
  podOf,
  refused,
  type SpecifiedPod,
  unchosen,
} from './judge.ts';
import type { AdmissionReview } from './review.ts';

/**
 * The new pod of a review that has castellan, or should have it; undefined where nothing is left to be judged. What becomes of a pod
 * later is judged here at once: by what changes, for a pod may be older than the webhook's configuration, and has to be able to end.
 * @throws CastellanError `manifest_invalid`
 */
export function podToAdmit(
  { request }: AdmissionReview,
  configuration: WebhookConfiguration,
): SpecifiedPod | undefined {
  const { kind, operation, object } = request;
  // Before 1.22 that was a kind of its own, which does not tell what is in the pod.
  if (operation === 'UPDATE' && isAboutPods(request, 'ephemeralcontainers'))
    refuseEphemeral(podOf(kind, object), configuration);
  if (operation === 'UPDATE' && isAboutPods(request, '')) refuseChanges(request);
  if (operation !== 'CREATE' || !isAboutPods(request, '')) return undefined;
  const asks = asksForCastellan(annotationsOf(object));
  return asks || hasCastellan(at(object, 'spec')) ? podOf(kind, object) : undefined;
}

/**
 * Refuses a pod that is not exactly what castellan makes of it, or against a rule of `castellan kubernetes validate`.
 * @throws CastellanError `manifest_invalid`, `identity_invalid`
 */
export function refuseUnlessSupervised(
  pod: SpecifiedPod,
  choices: PodChoices,
  configuration: WebhookConfiguration,
  namespace: NamespaceFacts,
): void {
  if (!hasCastellan(pod.spec))
    throw refused(`the pod asks for castellan (${INJECT_ANNOTATION}), and castellan is not in it`, {
      remedy:
        'see that the API server asks the mutating webhook about its namespace, and that no other webhook takes castellan out',
    });
  refuseEphemeral(pod, configuration);
  const whole = unchosen(pod);
  injectSupervisor(whole, optionsOf(pod.spec, choices, configuration, namespace));
  const [first] = [
    ...mountFindings(pod.spec, []),
    ...supervisionFindings(whole, podSecurityViolations(whole), 'Pod'),
  ];
  if (first !== undefined)
    throw refused(`${first.path} of ${first.where}: ${first.why}`, {
      object: first.where,
      remedy: first.remedy,
    });
}

/** For whoever brings pods that have castellan already: that those are to be what this webhook makes, it can only say. */
export function hintForRendered({ request: { operation, object } }: AdmissionReview): string | undefined {
  if (operation !== 'CREATE' || Object.hasOwn(annotationsOf(object), INJECT_ANNOTATION)) return undefined;
  return `the pod has castellan and no ${INJECT_ANNOTATION}: leave castellan out and ask for it by that, or, for pods of castellan kubernetes render, have the operator of the webhook put the namespace among its excludedNamespaces`;
}

/**
 * Refuses ephemeral containers of a pod that has castellan: they run beside it, confined by nothing, in a network that castellan
 * governs for the agent alone, and with whatever uid they name, the proxy's included. (By what is in the pod: annotations can be taken away.)
 */
function refuseEphemeral({ spec }: SpecifiedPod, { ephemeralContainers }: WebhookConfiguration): void {
  const [joining] = spec.ephemeralContainers ?? [];
  if (joining === undefined || ephemeralContainers === 'allow') return;
  if (!hasCastellan({ ...spec, ephemeralContainers: [] })) return;
  throw refused(
    `ephemeral container ${joining.name} would run in the pod outside of castellan’s confinement`,
    {
      object: 'ephemeralContainers',
      remedy: 'use castellan ssh, or set ephemeral_containers to allow in the configuration of the webhook',
    },
  );
}

/** What says nothing of what runs in a pod, and with what rights: when it ends, and on which node it is. */
const CHANGEABLE: readonly string[] = [
  'activeDeadlineSeconds',
  'tolerations',
  'schedulingGates',
  'nodeSelector',
  'affinity',
];
/** How much a container may use: in the pod itself before `pods/resize` was made. */
const RESIZED = /^\/((containers|initContainers)\/\d+\/)?(resources|resizePolicy)(\/|$)/;

function refuseChanges({ object, oldObject }: AdmissionReview['request']): void {
  const [before, after] = [annotationsOf(oldObject), annotationsOf(object)];
  const [oldSpec, spec] = [at(oldObject, 'spec'), at(object, 'spec')];
  const changed = Object.keys({ ...before, ...after }).filter(
    (key) => key.startsWith(METADATA_PREFIX) && at(before, key) !== at(after, key),
  );
  if (!hasCastellan(oldSpec) && !hasCastellan(spec)) {
    if (changed.includes(INJECT_ANNOTATION) && asksForCastellan(after))
      throw refused('a pod that is there gets castellan no more, and would only say so', {
        object: INJECT_ANNOTATION,
        remedy: 'make a new pod with the annotation',
      });
    return;
  }
  const [annotation] = changed;
  if (annotation !== undefined)
    throw refused(`annotation ${annotation} of a pod that has castellan stays as it was made`, {
      object: annotation,
      remedy: 'make a new pod with other annotations',
    });
  const operation = patchBetween(jsonOf(oldSpec ?? null), jsonOf(spec ?? null)).find(
    ({ path }) => !CHANGEABLE.includes(path.split('/')[1] ?? '') && !RESIZED.test(path),
  );
  if (operation !== undefined) throw refusedChange(operation.path, spec);
}

function refusedChange(pointer: string, spec: unknown) {
  const keys = pointer.split('/').slice(1);
  const path = keys.reduce(
    (above, key) => (/^\d+$/.test(key) ? `${above}[${key}]` : joinPath(above, key)),
    'spec',
  );
  const [list = '', index = '', field] = keys;
  const name = at(spec, list, index, 'name');
  const whose = typeof name === 'string' ? ` of container ${name}` : '';
  const why = field === 'image' ? ': the kubelet would start it again, whatever restartPolicy says' : '';
  return refused(`${path}${whose} stays as it was made, for the pod has castellan${why}`, {
    object: path,
    remedy: 'make a new pod',
  });
}
