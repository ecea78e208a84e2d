/** What a request and the configuration of the webhook say in the same words: one reader, so that the same word means the same pod. */
import { DEFAULT_NETWORK_ROLE_UID } from '../config/config.ts';
import { MIN_DRIVER_ID } from '../config/driver-identity.ts';
import { BINARY_IDENTITIES, DEFAULT_BINARY_IDENTITY } from '../config/pod.ts';
import type { SecretFileName } from '../config/secret-files.ts';
import { readUpstreamProxy } from '../config/upstream-proxy.ts';
import { CastellanError } from '../errors.ts';
import {
  type Fields,
  readBoolean,
  readChoice,
  readFields,
  readInteger,
  readText,
} from '../policy/source/fields.ts';
import { type Findings, inTextOrder, refuse } from '../policy/source/findings.ts';
import type { TreeNode } from '../policy/source/tree.ts';
import { type ConfiguredIds, MAX_POD_ID } from './identity.ts';
import { OBJECT_NAME, readForm, readKeyOf, readPath, readSwitch, readTexts } from './read-values.ts';
import { DEFAULT_GRACE_SECONDS, DEFAULT_WORKDIR } from './request.ts';
import {
  type KeyOf,
  type SupervisorOptions,
  TOPOLOGIES,
  type Topology,
  type UpstreamProxyOptions,
} from './supervisor.ts';

export const SUPERVISION_KEYS = [
  'topology',
  'binary_identity',
  'native_sidecar',
  'proxy_uid',
  'sandbox_uid',
  'sandbox_gid',
  'workdir',
  'credentials',
  'inference_routes',
  'upstream_proxy',
  'health_port',
  'metrics_port',
  'reload',
  'grace_seconds',
  'read_only_root',
  'host_users',
  'app_armor',
] as const;
type SupervisionKey = (typeof SUPERVISION_KEYS)[number];

/** The key of a Secret that is named without one. */
export const SECRET_KEYS: Readonly<Record<SecretFileName, string>> = {
  credentials: 'credentials.yaml',
  inferenceRoutes: 'routes.yaml',
  upstreamProxyAuth: 'auth',
};

export interface Supervision
  extends Pick<
    SupervisorOptions,
    | 'topology'
    | 'binaryIdentity'
    | 'nativeSidecar'
    | 'proxyUid'
    | 'workdir'
    | 'secrets'
    | 'upstreamProxy'
    | 'healthPort'
    | 'metricsPort'
    | 'reload'
    | 'graceSeconds'
    | 'readOnlyRoot'
    | 'hostUsers'
    | 'appArmor'
  > {
  readonly ids: ConfiguredIds;
}

/** Where the two differ in what they take for granted. */
export interface SupervisionDefaults {
  readonly topology: Topology;
  readonly appArmor: SupervisorOptions['appArmor'];
}

/** As castellan run takes it. */
const MAX_GRACE_SECONDS = 3600;
const IDS = [MIN_DRIVER_ID, MAX_POD_ID] as const;
const PORTS = [1, 65_535] as const;

export function readSupervision(
  fields: Pick<Fields<SupervisionKey>, 'get'>,
  defaults: SupervisionDefaults,
  findings: Findings,
): Supervision {
  const whole = (key: SupervisionKey, range: readonly [number, number]) =>
    readInteger(fields.get(key), key, range, findings);
  const word = <Word extends string>(key: SupervisionKey, words: readonly Word[]) =>
    readChoice(fields.get(key), key, words, findings);
  const yes = (key: SupervisionKey, otherwise: boolean) =>
    readSwitch(fields.get(key), key, otherwise, findings);
  return {
    topology: word('topology', TOPOLOGIES) ?? defaults.topology,
    binaryIdentity: word('binary_identity', BINARY_IDENTITIES) ?? DEFAULT_BINARY_IDENTITY,
    nativeSidecar: yes('native_sidecar', true),
    proxyUid: whole('proxy_uid', IDS) ?? DEFAULT_NETWORK_ROLE_UID,
    ids: { uid: whole('sandbox_uid', IDS), gid: whole('sandbox_gid', IDS) },
    workdir: readPath(fields.get('workdir'), 'workdir', findings) ?? DEFAULT_WORKDIR,
    secrets: readSecrets(fields, findings),
    upstreamProxy: readProxy(fields.get('upstream_proxy'), findings),
    healthPort: whole('health_port', PORTS),
    metricsPort: whole('metrics_port', PORTS),
    reload: word('reload', ['never', 'watch'] as const) ?? 'never',
    graceSeconds: whole('grace_seconds', [0, MAX_GRACE_SECONDS]) ?? DEFAULT_GRACE_SECONDS,
    readOnlyRoot: yes('read_only_root', false),
    hostUsers: readBoolean(fields.get('host_users'), 'host_users', findings),
    appArmor: readAppArmor(fields.get('app_armor'), findings) ?? defaults.appArmor,
  };
}

function readSecrets(
  fields: Pick<Fields<SupervisionKey>, 'get'>,
  findings: Findings,
): SupervisorOptions['secrets'] {
  const proxy = fields.get('upstream_proxy');
  const auth = proxy?.kind === 'map' ? proxy.entries.get('auth')?.value : undefined;
  const places: readonly (readonly [SecretFileName, TreeNode | undefined, string])[] = [
    ['credentials', fields.get('credentials'), 'credentials'],
    ['inferenceRoutes', fields.get('inference_routes'), 'inference_routes'],
    ['upstreamProxyAuth', auth, 'upstream_proxy.auth'],
  ];
  return Object.fromEntries(
    places.flatMap(([name, node, where]) => {
      const from = readSecret(node, where, SECRET_KEYS[name], findings);
      return from === undefined ? [] : [[name, from]];
    }),
  );
}

/** `NAME`, or `{ secret: NAME, key: KEY }`. */
function readSecret(
  node: TreeNode | undefined,
  where: string,
  key: string,
  findings: Findings,
): KeyOf | undefined {
  if (node?.kind !== 'scalar') return readKeyOf(node, where, 'secret', key, findings);
  const name = readForm(node, where, OBJECT_NAME, findings);
  return name === undefined ? undefined : { name, key };
}

/** Checked by castellan run's own reader, so that the pod does not find out. */
function readProxy(node: TreeNode | undefined, findings: Findings): UpstreamProxyOptions | undefined {
  if (node === undefined) return undefined;
  const where = 'upstream_proxy';
  const keys = ['url', 'no_proxy', 'auth', 'connect_by_hostname', 'allow_insecure_auth'] as const;
  const fields = readFields(node, where, keys, findings);
  const yes = (key: (typeof keys)[number]) => readSwitch(fields.get(key), `${where}.${key}`, false, findings);
  const proxy = {
    url: readText(fields.get('url'), `${where}.url`, findings) ?? '',
    noProxy: readTexts(fields.get('no_proxy'), `${where}.no_proxy`, findings),
    connectByHostname: yes('connect_by_hostname'),
    allowInsecureAuth: yes('allow_insecure_auth'),
  };
  const options = new Map<string, readonly string[]>([
    ['upstream-proxy', [proxy.url]],
    ['upstream-no-proxy', proxy.noProxy],
    ...(fields.has('auth') ? [['upstream-proxy-auth-file', ['']] as [string, string[]]] : []),
    ...(proxy.allowInsecureAuth ? [['upstream-proxy-auth-allow-insecure', ['']] as [string, string[]]] : []),
  ]);
  try {
    readUpstreamProxy(options);
  } catch (error) {
    if (!(error instanceof CastellanError)) throw error;
    refuse(findings, node.position, `${where}: ${error.message}`);
  }
  return proxy;
}

function readAppArmor(node: TreeNode | undefined, findings: Findings): SupervisorOptions['appArmor'] {
  const text = readText(node, 'app_armor', findings);
  if (node === undefined) return undefined;
  if (text === 'RuntimeDefault' || text === 'Unconfined') return text;
  if (text !== undefined && /^Localhost\/./.test(text)) return `Localhost/${text.slice('Localhost/'.length)}`;
  return refuse(findings, node.position, 'app_armor must be Unconfined, RuntimeDefault or Localhost/PROFILE');
}

/**
 * What was read, where nothing was found to be wrong with it.
 * @throws CastellanError `manifest_invalid`, whose message begins with FILE:LINE:COLUMN of the first problem
 */
export function withoutProblems<Read>(
  read: Read | undefined,
  { file, problems }: Findings,
  facts: { readonly step: string; readonly remedy?: string },
): Read {
  const [first, ...others] = problems.toSorted((a, b) => inTextOrder(a.position, b.position));
  if (first === undefined && read !== undefined) return read;
  const { position, message } = first ?? { position: { line: 1, column: 1 }, message: 'is empty' };
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new CastellanError(
    'manifest_invalid',
    `${file}:${position.line}:${position.column}: ${message}${more}`,
    { object: file, ...facts },
  );
}
