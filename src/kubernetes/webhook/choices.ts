/**
 * What a pod may say about its own supervision, by annotations. A pod's author could leave castellan out, so that nothing said here can
 * take anything from the agent's confinement that the author could not take anyway. It is the other way round that counts: castellan is
 * started with more than the author may have (its image, its capabilities, a uid that it becomes where neither Pod Security nor an SCC
 * looks), and none of that may be the author's to choose. So the image and the proxy's uid are never a pod's choice; the topology, and
 * with it privileges, only where the operator says so; a uid only out of the block that the namespace has.
 */

import { BINARY_IDENTITIES, type BinaryIdentity } from '../../config/pod.ts';
import { CastellanError } from '../../errors.ts';
import { parseId } from '../../lib/id.ts';
import { nearest } from '../../lib/nearest.ts';
import { METADATA_PREFIX } from '../layout.ts';
import { TOPOLOGIES, type Topology } from '../supervisor.ts';

/** What an author can do anyway: to name things of the own namespace, which container is the agent's, and what is in its workspace. */
export const DEFAULT_CHOICES = [
  'container',
  'policy',
  'credentials',
  'inference-routes',
  'workdir',
  'seed',
] as const;

/** Annotations by which a pod may choose, without their prefix. */
export const CHOICES = [...DEFAULT_CHOICES, 'topology', 'binary-identity', 'identity'] as const;
export type Choice = (typeof CHOICES)[number];

export const INJECT_ANNOTATION = `${METADATA_PREFIX}inject`;

export interface PodChoices {
  readonly container: string | undefined;
  /** A ConfigMap of the pod's namespace. */
  readonly policy: string | undefined;
  /** A Secret of the pod's namespace. */
  readonly credentials: string | undefined;
  /** The same. */
  readonly inferenceRoutes: string | undefined;
  readonly workdir: string | undefined;
  /** Whether the volume at the working directory gets what the image has there. */
  readonly seed: boolean;
  readonly topology: Topology | undefined;
  readonly binaryIdentity: BinaryIdentity | undefined;
  /** Without a gid: the one that the pod would have had. */
  readonly identity: { readonly uid: number; readonly gid: number | undefined } | undefined;
}

type PodAnnotations = Readonly<Record<string, unknown>>;

/** What castellan itself writes there (annotations.ts); a pod that was copied from a running one has them. */
const TOLD: readonly string[] = ['version', 'sandbox-uid', 'sandbox-gid', 'pod-security', 'scc'];
const CONTAINER = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** RFC 1123 subdomain: the names of ConfigMaps and Secrets. */
const OBJECT = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;

/**
 * Whether a pod asks for castellan.
 * @throws CastellanError `manifest_invalid` where what it says is neither true nor false
 */
export function asksForCastellan(annotations: PodAnnotations): boolean {
  if (!Object.hasOwn(annotations, INJECT_ANNOTATION)) return false;
  const value = annotations[INJECT_ANNOTATION];
  if (value === 'true' || value === 'false') return value === 'true';
  throw refused(INJECT_ANNOTATION, 'is neither "true" nor "false"');
}

/**
 * What the annotations choose. What is among `settled` with the very same value is no choice.
 * @throws CastellanError `manifest_invalid` for an unknown, malformed or forbidden one
 */
export function readChoices(
  annotations: PodAnnotations,
  allowed: readonly Choice[],
  settled: Partial<Record<Choice, string>>,
): PodChoices {
  const chosen = new Map<Choice, string>();
  for (const [key, value] of Object.entries(annotations)) {
    if (!key.startsWith(METADATA_PREFIX) || key === INJECT_ANNOTATION) continue;
    const name = key.slice(METADATA_PREFIX.length);
    if (TOLD.includes(name)) continue;
    const choice = CHOICES.find((known) => known === name);
    if (choice === undefined) throw refused(key, `is unknown${didYouMean(name)}`);
    if (typeof value !== 'string') throw refused(key, 'is no text');
    if (value === settled[choice]) continue;
    if (!allowed.includes(choice)) throw refused(key, 'is not a pod’s to choose here');
    chosen.set(choice, value);
  }
  return {
    container: named(chosen, 'container', CONTAINER),
    policy: named(chosen, 'policy', OBJECT),
    credentials: named(chosen, 'credentials', OBJECT),
    inferenceRoutes: named(chosen, 'inference-routes', OBJECT),
    workdir: chosen.get('workdir'),
    seed: word(chosen, 'seed', ['true', 'false']) === 'true',
    topology: word(chosen, 'topology', TOPOLOGIES),
    binaryIdentity: word(chosen, 'binary-identity', BINARY_IDENTITIES),
    identity: ids(chosen),
  };
}

/** The annotations without those that only choose: as the pod would be had somebody else chosen the same. */
export function withoutChoices(annotations: Readonly<Record<string, string>>): Record<string, string> {
  const chooses = (key: string) =>
    key === INJECT_ANNOTATION ||
    (CHOICES.some((name) => key === METADATA_PREFIX + name) && key !== `${METADATA_PREFIX}topology`);
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => !chooses(key)));
}

function named(chosen: ReadonlyMap<Choice, string>, choice: Choice, pattern: RegExp): string | undefined {
  const value = chosen.get(choice);
  if (value === undefined || pattern.test(value)) return value;
  throw refused(METADATA_PREFIX + choice, 'is no name of Kubernetes');
}

function word<Word extends string>(
  chosen: ReadonlyMap<Choice, string>,
  choice: Choice,
  words: readonly Word[],
): Word | undefined {
  const value = chosen.get(choice);
  const found = words.find((one) => one === value);
  if (value !== undefined && found === undefined)
    throw refused(METADATA_PREFIX + choice, `is none of ${words.join(', ')}`);
  return found;
}

function ids(chosen: ReadonlyMap<Choice, string>): PodChoices['identity'] {
  const value = chosen.get('identity');
  if (value === undefined) return undefined;
  const [first = '', second, ...more] = value.split(':');
  const [uid, gid] = [parseId(first), second === undefined ? undefined : parseId(second)];
  if (more.length > 0 || uid === undefined || (second !== undefined && gid === undefined))
    throw refused(`${METADATA_PREFIX}identity`, 'is neither UID nor UID:GID');
  return { uid, gid };
}

function didYouMean(name: string): string {
  const near = nearest(name, ['inject', ...CHOICES]);
  return near === undefined ? '' : `; did you mean ${METADATA_PREFIX}${near}?`;
}

/** The value is not repeated: it may be anything, and what it was the author knows. */
function refused(annotation: string, problem: string): CastellanError {
  return new CastellanError('manifest_invalid', `annotation ${annotation} ${problem}`, {
    step: 'kubernetes/webhook',
    object: annotation,
    remedy: 'correct the annotations of the pod',
  });
}
