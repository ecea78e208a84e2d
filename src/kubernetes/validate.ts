/** A file of objects to what is wrong with its pods, and what they need of a cluster. Pure, and without a cluster. */
import type { V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { placedContainers } from './containers.ts';
import type { Finding } from './finding.ts';
import { type Manifest, type ManifestObject, podOf } from './manifest.ts';
import {
  POD_SECURITY_LEVELS,
  type PodSecurityLevel,
  type PodSecurityViolation,
  podSecurityLevel,
  podSecurityViolations,
} from './pod-security.ts';
import { describeRbac } from './rbac.ts';
import { hasCastellan } from './recognise.ts';
import { mountFindings } from './rules-mounts.ts';
import { supervisionFindings } from './rules-supervision.ts';
import { describeScc, requiredScc } from './scc.ts';
import { isReadable, schemaFindings } from './schema.ts';
import { readSupervisedPod } from './supervised-pod.ts';

export interface PodReport {
  readonly kind: string;
  readonly name: string;
  readonly line: number;
  /** Whether castellan is in it: only then its rules apply. */
  readonly supervised: boolean;
  /** Whom the agent runs as, where castellan is in the pod. */
  readonly identity: string | undefined;
  readonly podSecurity: PodSecurityLevel;
  /** Of each container, with what is the pod's as a whole. */
  readonly containers: Readonly<Record<string, PodSecurityLevel>>;
  readonly scc: string;
  /** What its service account has to be allowed. */
  readonly rbac: string;
  readonly findings: readonly LocatedFinding[];
}

export interface LocatedFinding extends Finding {
  readonly line: number;
}

export interface Expectations {
  /** Every pod has to reach it; undefined asks for nothing. */
  readonly podSecurity: PodSecurityLevel | undefined;
  /** Every pod has to be castellan's. */
  readonly supervised: boolean;
}

/** What there is to say about every pod of a file. */
export function validateManifest({ objects }: Manifest, expected: Expectations): PodReport[] {
  return objects.map((object) => reportOf(object, expected));
}

function reportOf(object: ManifestObject, expected: Expectations): PodReport {
  const { kind, name, model, value, podPath } = object;
  const shape = schemaFindings(value, model);
  // Rules read fields; where one is of another kind than it should be, nothing can be said about the pod.
  const pod = shape.every(isReadable) ? podOf(object) : undefined;
  const violations = pod === undefined ? [] : podSecurityViolations(pod);
  const within = ({ path, ...finding }: Finding): Finding => ({
    ...finding,
    path: podPath === '' ? path : `${podPath}.${path}`,
  });
  const ofPod = pod === undefined ? [] : podFindings(object, pod, violations, expected).map(within);
  return {
    kind,
    name,
    line: object.lineOf(''),
    supervised: pod?.spec !== undefined && hasCastellan(pod.spec),
    identity: pod?.spec !== undefined && hasCastellan(pod.spec) ? describeIdentity(pod.spec) : undefined,
    podSecurity: pod === undefined ? 'privileged' : podSecurityLevel(violations),
    containers: levelsOf(pod, violations),
    scc: pod === undefined ? 'unknown' : describeScc(requiredScc(pod)),
    rbac: pod === undefined ? 'unknown' : describeRbac(pod, requiredScc(pod)),
    findings: [...shape, ...ofPod].map((finding) => ({ ...finding, line: object.lineOf(finding.path) })),
  };
}

function podFindings(
  { kind, claimVolumes }: ManifestObject,
  pod: V1PodTemplateSpec,
  violations: readonly PodSecurityViolation[],
  { podSecurity, supervised }: Expectations,
): Finding[] {
  const { spec } = pod;
  if (spec === undefined || (spec.containers ?? []).length === 0)
    return [finding('no-container', 'pod', 'spec.containers', 'the pod has no container', 'add one')];
  const isOurs = hasCastellan(spec);
  return [
    ...mountFindings(spec, claimVolumes),
    ...(isOurs ? supervisionFindings(pod, violations, kind) : []),
    ...(supervised && !isOurs
      ? [
          finding(
            'unsupervised',
            'pod',
            'spec',
            'castellan is not in this pod',
            'put it in by castellan kubernetes render',
          ),
        ]
      : []),
    ...tooLow(violations, podSecurity),
  ];
}

/** As castellan will find it: told by numbers, or by the uid that its container has been given. */
function describeIdentity(spec: V1PodSpec): string {
  const [agent] = readSupervisedPod(spec).agents;
  const told = (name: string) => agent?.container.env?.find((one) => one.name === name)?.value;
  const [uid, gid] = [told('SANDBOX_UID'), told('SANDBOX_GID')];
  if (uid !== undefined && gid !== undefined) return `uid ${uid}, gid ${gid}`;
  return 'the uid that the platform gives the container: castellan takes it, without root, which needs user namespaces there';
}

function tooLow(violations: readonly PodSecurityViolation[], asked: PodSecurityLevel | undefined): Finding[] {
  if (asked === undefined || asked === 'privileged') return [];
  return violations
    .filter(({ level }) => POD_SECURITY_LEVELS.indexOf(level) <= POD_SECURITY_LEVELS.indexOf(asked))
    .map(({ control, level, container = 'pod', path, problem }) =>
      finding(
        `pod-security/${control}`,
        container,
        path,
        `${problem}, which ${level} does not allow`,
        'take it out, or ask for less',
      ),
    );
}

function levelsOf(
  pod: V1PodTemplateSpec | undefined,
  violations: readonly PodSecurityViolation[],
): Record<string, PodSecurityLevel> {
  const placed = pod?.spec === undefined ? [] : placedContainers(pod.spec);
  const ofContainer = Map.groupBy(violations, ({ container }) => container);
  const ofPod = ofContainer.get(undefined) ?? [];
  return Object.fromEntries(
    placed.map(({ container: { name } }) => [
      name,
      podSecurityLevel([...ofPod, ...(ofContainer.get(name) ?? [])]),
    ]),
  );
}

function finding(rule: string, where: string, path: string, why: string, remedy: string): Finding {
  return { rule, where, path, why, remedy };
}
