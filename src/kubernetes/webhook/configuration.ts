/** How the webhook changes pods: the file that `castellan kubernetes webhook --config` reads. It decides all that a pod may not. */
import { CastellanError } from '../../errors.ts';
import { type Fields, readChoice, readFields, readInteger, readList } from '../../policy/source/fields.ts';
import { type Findings, refuse } from '../../policy/source/findings.ts';
import { readTree, type TreeNode } from '../../policy/source/tree.ts';
import { type ConfiguredIds, type PodIdentity, refuseProxyIds } from '../identity.ts';
import { POLICY_KEY } from '../layout.ts';
import { readSupervision, SUPERVISION_KEYS, withoutProblems } from '../read-supervision.ts';
import { IMAGE, OBJECT_NAME, readForm, readResources, requireForm } from '../read-values.ts';
import { refuseOptions } from '../refusals.ts';
import { PULL_POLICIES } from '../request.ts';
import { INSTALL_METHODS, type SupervisorOptions } from '../supervisor.ts';
import { CHOICES, type Choice, DEFAULT_CHOICES } from './choices.ts';

export interface WebhookConfiguration {
  /** For pods that choose nothing. */
  readonly supervisor: Omit<SupervisorOptions, 'identity'>;
  /** Whom agents run as; what is left open, the namespace says. */
  readonly ids: ConfiguredIds;
  readonly podsMayChoose: readonly Choice[];
  /** `refuse`: no ephemeral container joins a pod that has castellan. */
  readonly ephemeralContainers: (typeof EPHEMERAL_CONTAINERS)[number];
}

const EPHEMERAL_CONTAINERS = ['refuse', 'allow'] as const;
/**
 * A request (`read-request.ts`) says more. What is the pod's own (image, command, volumes, resources …) its author writes into it, and
 * `seed` into an annotation. `identity: platform` is left out: here the namespace is asked, so that the number is known.
 */
export const CONFIGURATION_KEYS = [
  ...SUPERVISION_KEYS,
  'version',
  'image',
  'pull_policy',
  'install',
  'resources',
  'policy',
  'companions',
  'ephemeral_containers',
  'pods_may_choose',
] as const;
type Key = (typeof CONFIGURATION_KEYS)[number];

export const DEFAULT_POLICY_NAME = 'castellan-policy';
export const MAX_CONFIGURATION_BYTES = 256 * 1024;

/** @throws CastellanError `manifest_invalid` with the first problem: `FILE:LINE:COLUMN: what is wrong` */
export function parseWebhookConfiguration(text: string, file: string): WebhookConfiguration {
  const findings: Findings = { file, problems: [], notices: [] };
  const tree = readTree(text, findings);
  const configuration = tree === undefined ? undefined : readConfiguration(tree, findings);
  return withoutProblems(configuration, findings, {
    step: 'webhook',
    remedy: 'correct the configuration at the line and column given',
  });
}

function readConfiguration(tree: TreeNode, findings: Findings): WebhookConfiguration {
  const fields = readFields(tree, 'the configuration', CONFIGURATION_KEYS, findings);
  if (readInteger(fields.get('version'), 'version', [1, 1], findings) === undefined)
    refuse(findings, tree.position, 'the configuration needs "version: 1"');
  // Clusters before 1.30 have no field for the profile, and would take it out of what castellan has to know again.
  const defaults = { topology: 'sidecar', appArmor: undefined } as const;
  const { ids, ...supervision } = readSupervision(fields, defaults, findings);
  const choices = fields.get('pods_may_choose');
  const ephemeral = fields.get('ephemeral_containers');
  const supervisor = { ...supervision, ...readRest(fields, tree, findings) };
  refuseContradictions({ supervisor, ids }, tree, findings);
  return {
    supervisor,
    ids,
    podsMayChoose:
      choices === undefined
        ? DEFAULT_CHOICES
        : readList(choices, 'pods_may_choose', findings).flatMap(
            (item) => readChoice(item, 'pods_may_choose', CHOICES, findings) ?? [],
          ),
    ephemeralContainers:
      readChoice(ephemeral, 'ephemeral_containers', EPHEMERAL_CONTAINERS, findings) ?? 'refuse',
  };
}

/** What would have every pod refused that chooses nothing is told at the start. A number that is not known here is nobody's. */
function refuseContradictions(
  { supervisor, ids }: Pick<WebhookConfiguration, 'supervisor' | 'ids'>,
  { position }: TreeNode,
  findings: Findings,
): void {
  const sourced = (id: 'uid' | 'gid') => ({ value: ids[id] ?? NOBODY, source: `sandbox_${id}` });
  const identity: PodIdentity = { kind: 'ids', uid: sourced('uid'), gid: sourced('gid') };
  try {
    refuseOptions({ ...supervisor, identity });
    refuseProxyIds(identity, supervisor.proxyUid);
  } catch (error) {
    if (!(error instanceof CastellanError)) throw error;
    refuse(findings, position, error.message);
  }
}

const NOBODY = -1;

function readRest(fields: Fields<Key>, tree: TreeNode, findings: Findings) {
  const word = <Word extends string>(key: Key, words: readonly Word[]) =>
    readChoice(fields.get(key), key, words, findings);
  const policy = readForm(fields.get('policy'), 'policy', OBJECT_NAME, findings);
  return {
    image: requireForm(fields.get('image'), 'image', IMAGE, tree, findings),
    pullPolicy: word('pull_policy', PULL_POLICIES),
    install: word('install', INSTALL_METHODS) ?? 'copy',
    resources: readResources(fields.get('resources'), 'resources', findings),
    policy: { name: policy ?? DEFAULT_POLICY_NAME, key: POLICY_KEY },
    companions: word('companions', ['refused', 'fenced']) ?? 'refused',
    agentContainer: undefined,
    seed: undefined,
  } as const;
}
