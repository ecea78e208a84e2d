/** The text of a request to what it asks for: strict, and every problem with its line and column. */
import { DEFAULT_NETWORK_ROLE_UID } from '../config/config.ts';
import { MIN_DRIVER_ID } from '../config/driver-identity.ts';
import { BINARY_IDENTITIES, DEFAULT_BINARY_IDENTITY } from '../config/pod.ts';
import type { SecretFileName } from '../config/secret-files.ts';
import { readUpstreamProxy } from '../config/upstream-proxy.ts';
import { problemOfVariableName } from '../config/variable-names.ts';
import { CastellanError } from '../errors.ts';
import { checkPolicy } from '../policy/parse.ts';
import {
  type Fields,
  isAbsent,
  readChoice,
  readFields,
  readInteger,
  readText,
} from '../policy/source/fields.ts';
import { type Findings, inTextOrder, refuse } from '../policy/source/findings.ts';
import { readTree, type TreeNode } from '../policy/source/tree.ts';
import { isCastellanVariable } from './environment.ts';
import { MAX_POD_ID } from './identity.ts';
import { POLICY_KEY } from './layout.ts';
import {
  IMAGE,
  LABEL_NAME,
  OBJECT_NAME,
  readAnnotations,
  readForm,
  readKeyOf,
  readLabels,
  readPath,
  readResources,
  readSwitch,
  readTexts,
  readTolerations,
  readWords,
  requireForm,
} from './read-values.ts';
import { readVolumes, readWorkspace } from './read-volumes.ts';
import {
  DEFAULT_GRACE_SECONDS,
  DEFAULT_WORKDIR,
  type PolicySource,
  PULL_POLICIES,
  type SandboxRequest,
} from './request.ts';
import {
  INSTALL_METHODS,
  type SupervisorOptions,
  TOPOLOGIES,
  type UpstreamProxyOptions,
} from './supervisor.ts';

const KEYS = [
  'name',
  'namespace',
  'labels',
  'annotations',
  'image',
  'pull_policy',
  'pull_secrets',
  'command',
  'args',
  'env',
  'workdir',
  'topology',
  'identity',
  'sandbox_uid',
  'sandbox_gid',
  'proxy_uid',
  'castellan',
  'policy',
  'credentials',
  'inference_routes',
  'resources',
  'workspace',
  'volumes',
  'service_account',
  'runtime_class',
  'priority_class',
  'node_selector',
  'tolerations',
  'binary_identity',
  'native_sidecar',
  'upstream_proxy',
  'health_port',
  'metrics_port',
  'reload',
  'grace_seconds',
  'read_only_root',
  'host_users',
  'app_armor',
] as const;
type Request = Fields<(typeof KEYS)[number]>;

/** Far above any request written by hand. */
export const MAX_REQUEST_BYTES = 1024 * 1024;
/** As castellan run takes it. */
const MAX_GRACE_SECONDS = 3600;

/**
 * @param file names the text in messages
 * @throws CastellanError `manifest_invalid`, whose message begins with FILE:LINE:COLUMN of the first problem
 */
export function parseSandboxRequest(text: string, file: string): SandboxRequest {
  const findings: Findings = { file, problems: [], notices: [] };
  const request = readRequest(text, findings);
  const [first, ...others] = findings.problems.toSorted((a, b) => inTextOrder(a.position, b.position));
  if (first === undefined && request !== undefined) return request;
  const { position, message } = first ?? { position: { line: 1, column: 1 }, message: 'is no request' };
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new CastellanError(
    'manifest_invalid',
    `${file}:${position.line}:${position.column}: ${message}${more}`,
    {
      step: 'kubernetes/request',
      object: file,
    },
  );
}

function readRequest(text: string, findings: Findings): SandboxRequest | undefined {
  if (Buffer.byteLength(text) > MAX_REQUEST_BYTES)
    return refuse(findings, { line: 1, column: 1 }, `the request is larger than ${MAX_REQUEST_BYTES} bytes`);
  const tree = readTree(text, findings);
  if (tree === undefined) return undefined;
  if (isAbsent(tree)) return refuse(findings, tree.position, 'the request is empty');
  const fields: Request = readFields(tree, 'the request', KEYS, findings);
  const number = (key: (typeof KEYS)[number], range: readonly [number, number]) =>
    readInteger(fields.get(key), key, range, findings);
  const ids = [MIN_DRIVER_ID, MAX_POD_ID] as const;
  const name = (key: (typeof KEYS)[number]) => readForm(fields.get(key), key, OBJECT_NAME, findings);
  return {
    name: requireForm(fields.get('name'), 'name', LABEL_NAME, tree, findings),
    namespace: readForm(fields.get('namespace'), 'namespace', LABEL_NAME, findings),
    labels: readLabels(fields.get('labels'), 'labels', findings),
    annotations: readAnnotations(fields.get('annotations'), 'annotations', findings),
    image: requireForm(fields.get('image'), 'image', IMAGE, tree, findings),
    pullPolicy: readChoice(fields.get('pull_policy'), 'pull_policy', PULL_POLICIES, findings),
    pullSecrets: readTexts(fields.get('pull_secrets'), 'pull_secrets', findings),
    command: readCommand(fields, tree, findings),
    env: readEnvironment(fields.get('env'), findings),
    workdir: readPath(fields.get('workdir'), 'workdir', findings) ?? DEFAULT_WORKDIR,
    topology: readChoice(fields.get('topology'), 'topology', TOPOLOGIES, findings) ?? 'combined',
    identity: readIdentity(fields, findings),
    ids: { uid: number('sandbox_uid', ids), gid: number('sandbox_gid', ids) },
    proxyUid: number('proxy_uid', ids) ?? DEFAULT_NETWORK_ROLE_UID,
    castellan: readCastellan(fields.get('castellan'), tree, findings),
    policy: readPolicy(fields.get('policy'), tree, findings),
    secrets: readSecrets(fields, findings),
    resources: readResources(fields.get('resources'), 'resources', findings),
    workspace: readWorkspace(fields.get('workspace'), findings),
    volumes: readVolumes(fields.get('volumes'), findings),
    serviceAccount: name('service_account'),
    runtimeClass: name('runtime_class'),
    priorityClass: name('priority_class'),
    nodeSelector: readLabels(fields.get('node_selector'), 'node_selector', findings),
    tolerations: readTolerations(fields.get('tolerations'), 'tolerations', findings),
    binaryIdentity:
      readChoice(fields.get('binary_identity'), 'binary_identity', BINARY_IDENTITIES, findings) ??
      DEFAULT_BINARY_IDENTITY,
    nativeSidecar: readSwitch(fields.get('native_sidecar'), 'native_sidecar', true, findings),
    upstreamProxy: readProxy(fields.get('upstream_proxy'), findings),
    healthPort: number('health_port', [1, 65_535]),
    metricsPort: number('metrics_port', [1, 65_535]),
    reload: readChoice(fields.get('reload'), 'reload', ['never', 'watch'] as const, findings) ?? 'never',
    graceSeconds: number('grace_seconds', [0, MAX_GRACE_SECONDS]) ?? DEFAULT_GRACE_SECONDS,
    readOnlyRoot: readSwitch(fields.get('read_only_root'), 'read_only_root', false, findings),
    hostUsers: fields.has('host_users')
      ? readSwitch(fields.get('host_users'), 'host_users', true, findings)
      : undefined,
    appArmor: readAppArmor(fields.get('app_armor'), findings),
  };
}

/** An image's entrypoint is not known here, so that the whole command has to be said. */
function readCommand(fields: Request, tree: TreeNode, findings: Findings): readonly string[] {
  const command = readTexts(fields.get('command'), 'command', findings);
  if (command.length === 0 || command[0] === '')
    refuse(
      findings,
      fields.get('command')?.position ?? tree.position,
      'command is missing: what castellan starts',
    );
  return [...command, ...readTexts(fields.get('args'), 'args', findings)];
}

function readEnvironment(node: TreeNode | undefined, findings: Findings): Record<string, string> {
  const variables = readWords(node, 'env', [[/^[^=\0]{1,256}$/, 'the name of a variable']], findings);
  for (const [name, value] of Object.entries(variables)) {
    const problem = isCastellanVariable(name) ? "is castellan's own" : problemOfVariableName(name);
    if (node !== undefined && problem !== undefined)
      refuse(findings, node.position, `env.${name}: ${problem}`);
    if (node !== undefined && value.includes('\0')) refuse(findings, node.position, `env.${name} has a NUL`);
  }
  return variables;
}

function readIdentity(fields: Request, findings: Findings): SandboxRequest['identity'] {
  const node = fields.get('identity');
  const identity = readChoice(node, 'identity', ['ids', 'platform'] as const, findings) ?? 'ids';
  if (
    node !== undefined &&
    identity === 'platform' &&
    (fields.has('sandbox_uid') || fields.has('sandbox_gid'))
  )
    refuse(findings, node.position, 'identity platform leaves no room for sandbox_uid and sandbox_gid');
  return identity;
}

function readCastellan(
  node: TreeNode | undefined,
  tree: TreeNode,
  findings: Findings,
): SandboxRequest['castellan'] {
  const fields =
    node && readFields(node, 'castellan', ['image', 'pull_policy', 'install', 'resources'], findings);
  return {
    image: requireForm(fields?.get('image'), 'castellan.image', IMAGE, node ?? tree, findings),
    pullPolicy: readChoice(fields?.get('pull_policy'), 'castellan.pull_policy', PULL_POLICIES, findings),
    install: readChoice(fields?.get('install'), 'castellan.install', INSTALL_METHODS, findings) ?? 'copy',
    resources: readResources(fields?.get('resources'), 'castellan.resources', findings),
  };
}

/** A policy in the request is checked as castellan will check it, but for the files that it names there. */
function readPolicy(node: TreeNode | undefined, tree: TreeNode, findings: Findings): PolicySource {
  const fields = node && readFields(node, 'policy', ['text', 'config_map', 'key'], findings);
  const text = fields?.get('text');
  if (node === undefined || (text === undefined) === (fields?.get('config_map') === undefined)) {
    refuse(findings, (node ?? tree).position, 'policy needs either text or config_map');
    return { kind: 'text', text: '' };
  }
  if (text === undefined) {
    const from = readKeyOf(node, 'policy', 'config_map', POLICY_KEY, findings);
    return { kind: 'config-map', from: from ?? { name: '', key: POLICY_KEY } };
  }
  if (fields?.has('key')) refuse(findings, node.position, 'policy.key goes with config_map');
  const policy = readText(text, 'policy.text', findings) ?? '';
  for (const { position, message } of checkPolicy(policy, 'policy.text').problems)
    refuse(
      findings,
      text.position,
      `policy.text, line ${position.line}, column ${position.column}: ${message}`,
    );
  return { kind: 'text', text: policy };
}

function readSecrets(fields: Request, findings: Findings): SandboxRequest['secrets'] {
  const proxy = fields.get('upstream_proxy');
  const auth = proxy?.kind === 'map' ? proxy.entries.get('auth')?.value : undefined;
  const places: readonly (readonly [SecretFileName, TreeNode | undefined, string, string])[] = [
    ['credentials', fields.get('credentials'), 'credentials', 'credentials.yaml'],
    ['inferenceRoutes', fields.get('inference_routes'), 'inference_routes', 'routes.yaml'],
    ['upstreamProxyAuth', auth, 'upstream_proxy.auth', 'auth'],
  ];
  return Object.fromEntries(
    places.flatMap(([name, node, where, key]) => {
      const from = readKeyOf(node, where, 'secret', key, findings);
      return from === undefined ? [] : [[name, from]];
    }),
  );
}

/** Checked by castellan run's own reader, so that the pod does not find out. */
function readProxy(node: TreeNode | undefined, findings: Findings): UpstreamProxyOptions | undefined {
  if (node === undefined) return undefined;
  const where = 'upstream_proxy';
  const keys = ['url', 'no_proxy', 'auth', 'connect_by_hostname', 'allow_insecure_auth'] as const;
  const fields = readFields(node, where, keys, findings);
  const proxy = {
    url: readText(fields.get('url'), `${where}.url`, findings) ?? '',
    noProxy: readTexts(fields.get('no_proxy'), `${where}.no_proxy`, findings),
    connectByHostname: readSwitch(
      fields.get('connect_by_hostname'),
      `${where}.connect_by_hostname`,
      false,
      findings,
    ),
    allowInsecureAuth: readSwitch(
      fields.get('allow_insecure_auth'),
      `${where}.allow_insecure_auth`,
      false,
      findings,
    ),
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
  if (node === undefined) return 'Unconfined';
  if (text === 'RuntimeDefault' || text === 'Unconfined') return text;
  if (text?.startsWith('Localhost/')) return `Localhost/${text.slice('Localhost/'.length)}`;
  return refuse(findings, node.position, 'app_armor must be Unconfined, RuntimeDefault or Localhost/PROFILE');
}
