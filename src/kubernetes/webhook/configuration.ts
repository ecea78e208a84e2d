/** How the webhook changes pods: the file that `castellan kubernetes webhook --config` reads. It decides all that a pod may not. */

import { BINARY_IDENTITIES, DEFAULT_BINARY_IDENTITY } from '../../config/pod.ts';
import { CastellanError } from '../../errors.ts';
import {
  type Fields,
  readBoolean,
  readChoice,
  readFields,
  readInteger,
  readList,
  readText,
} from '../../policy/source/fields.ts';
import { type Findings, inTextOrder, refuse } from '../../policy/source/findings.ts';
import { readTree, type TreeNode } from '../../policy/source/tree.ts';
import { type ConfiguredIds, MAX_POD_ID } from '../identity.ts';
import { POLICY_KEY } from '../layout.ts';
import { DEFAULT_GRACE_SECONDS, DEFAULT_WORKDIR, PULL_POLICIES } from '../request.ts';
import { INSTALL_METHODS, type SupervisorOptions, TOPOLOGIES } from '../supervisor.ts';
import { CHOICES, type Choice } from './choices.ts';

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
const KEYS = [
  'version',
  'image',
  'pull_policy',
  'install',
  'topology',
  'binary_identity',
  'native_sidecar',
  'proxy_uid',
  'sandbox_uid',
  'sandbox_gid',
  'policy',
  'credentials',
  'workdir',
  'companions',
  'grace_seconds',
  'read_only_root',
  'host_users',
  'ephemeral_containers',
  'pods_may_choose',
] as const;
type Key = (typeof KEYS)[number];

/** What an author can do anyway: to name things of the own namespace, and which container is the agent's. */
const DEFAULT_CHOICES: readonly Choice[] = ['container', 'policy', 'credentials', 'workdir'];
export const DEFAULT_POLICY_NAME = 'castellan-policy';
/** The key of Secrets with credentials. */
export const CREDENTIALS_KEY = 'credentials.yaml';
const DEFAULT_PROXY_UID = 1337;
/** Pods are to end within an hour. */
const MAX_GRACE_SECONDS = 3600;
const IDS = [1, MAX_POD_ID] as const;
export const MAX_CONFIGURATION_BYTES = 256 * 1024;

/** @throws CastellanError `manifest_invalid` with the first problem: `FILE:LINE:COLUMN: what is wrong` */
export function parseWebhookConfiguration(text: string, file: string): WebhookConfiguration {
  const findings: Findings = { file, problems: [], notices: [] };
  const tree = readTree(text, findings);
  const configuration = tree === undefined ? undefined : readConfiguration(tree, findings);
  const [first, ...others] = findings.problems.toSorted((a, b) => inTextOrder(a.position, b.position));
  if (first === undefined && configuration !== undefined) return configuration;
  const { line, column } = first?.position ?? { line: 1, column: 1 };
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new CastellanError('manifest_invalid', `${file}:${line}:${column}: ${first?.message}${more}`, {
    step: 'webhook',
    object: file,
    remedy: 'correct the configuration at the line and column given',
  });
}

function readConfiguration(tree: TreeNode, findings: Findings): WebhookConfiguration {
  const fields = readFields(tree, 'the configuration', KEYS, findings);
  if (readInteger(fields.get('version'), 'version', [1, 1], findings) === undefined)
    refuse(findings, tree.position, 'the configuration needs "version: 1"');
  const id = (key: 'sandbox_uid' | 'sandbox_gid') => readInteger(fields.get(key), key, IDS, findings);
  const choices = fields.get('pods_may_choose');
  return {
    supervisor: readSupervisor(tree, fields, findings),
    ids: { uid: id('sandbox_uid'), gid: id('sandbox_gid') },
    podsMayChoose:
      choices === undefined
        ? DEFAULT_CHOICES
        : readList(choices, 'pods_may_choose', findings).flatMap(
            (item) => readChoice(item, 'pods_may_choose', CHOICES, findings) ?? [],
          ),
    ephemeralContainers:
      readChoice(
        fields.get('ephemeral_containers'),
        'ephemeral_containers',
        EPHEMERAL_CONTAINERS,
        findings,
      ) ?? 'refuse',
  };
}

function readSupervisor(
  tree: TreeNode,
  fields: Fields<Key>,
  findings: Findings,
): WebhookConfiguration['supervisor'] {
  const text = (key: Key) => readText(fields.get(key), key, findings);
  const word = <Word extends string>(key: Key, words: readonly Word[]) =>
    readChoice(fields.get(key), key, words, findings);
  const whole = (key: Key, range: readonly [number, number]) =>
    readInteger(fields.get(key), key, range, findings);
  const yes = (key: Key) => readBoolean(fields.get(key), key, findings);
  const image = text('image');
  if (image === undefined || /^$|\s/.test(image))
    refuse(findings, fields.get('image')?.position ?? tree.position, 'the configuration needs an image');
  const credentials = text('credentials');
  return {
    topology: word('topology', TOPOLOGIES) ?? 'sidecar',
    image: image ?? '',
    pullPolicy: word('pull_policy', PULL_POLICIES),
    install: word('install', INSTALL_METHODS) ?? 'copy',
    binaryIdentity: word('binary_identity', BINARY_IDENTITIES) ?? DEFAULT_BINARY_IDENTITY,
    nativeSidecar: yes('native_sidecar') ?? true,
    proxyUid: whole('proxy_uid', IDS) ?? DEFAULT_PROXY_UID,
    policy: { name: text('policy') ?? DEFAULT_POLICY_NAME, key: POLICY_KEY },
    secrets: credentials === undefined ? {} : { credentials: { name: credentials, key: CREDENTIALS_KEY } },
    workdir: text('workdir') ?? DEFAULT_WORKDIR,
    agentContainer: undefined,
    companions: word('companions', ['refused', 'fenced']) ?? 'refused',
    graceSeconds: whole('grace_seconds', [0, MAX_GRACE_SECONDS]) ?? DEFAULT_GRACE_SECONDS,
    readOnlyRoot: yes('read_only_root') ?? false,
    hostUsers: yes('host_users'),
    upstreamProxy: undefined,
    healthPort: undefined,
    metricsPort: undefined,
    reload: 'never',
    appArmor: undefined,
    seed: undefined,
    resources: undefined,
  };
}
