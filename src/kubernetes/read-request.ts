/** The text of a request to what it asks for: strict, and every problem with its line and column. */
import { problemOfVariableName } from '../config/variable-names.ts';
import { checkPolicy } from '../policy/parse.ts';
import { type Fields, isAbsent, readChoice, readFields, readText } from '../policy/source/fields.ts';
import { type Findings, refuse } from '../policy/source/findings.ts';
import { readTree, type TreeNode } from '../policy/source/tree.ts';
import { isCastellanVariable } from './environment.ts';
import { POLICY_KEY } from './layout.ts';
import { readSupervision, SUPERVISION_KEYS, withoutProblems } from './read-supervision.ts';
import {
  IMAGE,
  LABEL_NAME,
  OBJECT_NAME,
  readAnnotations,
  readForm,
  readKeyOf,
  readLabels,
  readResources,
  readTexts,
  readTolerations,
  readWords,
  requireForm,
} from './read-values.ts';
import { readVolumes, readWorkspace } from './read-volumes.ts';
import { type PolicySource, PULL_POLICIES, type SandboxRequest } from './request.ts';
import { INSTALL_METHODS } from './supervisor.ts';

export const REQUEST_KEYS = [
  ...SUPERVISION_KEYS,
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
  'identity',
  'castellan',
  'policy',
  'resources',
  'workspace',
  'volumes',
  'service_account',
  'runtime_class',
  'priority_class',
  'node_selector',
  'tolerations',
] as const;
type Request = Fields<(typeof REQUEST_KEYS)[number]>;

/** Far above any request written by hand. */
export const MAX_REQUEST_BYTES = 1024 * 1024;

/**
 * @param file names the text in messages
 * @throws CastellanError `manifest_invalid`, whose message begins with FILE:LINE:COLUMN of the first problem
 */
export function parseSandboxRequest(text: string, file: string): SandboxRequest {
  const findings: Findings = { file, problems: [], notices: [] };
  return withoutProblems(readRequest(text, findings), findings, { step: 'kubernetes/request' });
}

function readRequest(text: string, findings: Findings): SandboxRequest | undefined {
  if (Buffer.byteLength(text) > MAX_REQUEST_BYTES)
    return refuse(findings, { line: 1, column: 1 }, `the request is larger than ${MAX_REQUEST_BYTES} bytes`);
  const tree = readTree(text, findings);
  if (tree === undefined) return undefined;
  if (isAbsent(tree)) return refuse(findings, tree.position, 'the request is empty');
  const fields: Request = readFields(tree, 'the request', REQUEST_KEYS, findings);
  const name = (key: (typeof REQUEST_KEYS)[number]) => readForm(fields.get(key), key, OBJECT_NAME, findings);
  return {
    ...readSupervision(fields, { topology: 'combined', appArmor: 'Unconfined' }, findings),
    name: requireForm(fields.get('name'), 'name', LABEL_NAME, tree, findings),
    namespace: readForm(fields.get('namespace'), 'namespace', LABEL_NAME, findings),
    labels: readLabels(fields.get('labels'), 'labels', findings),
    annotations: readAnnotations(fields.get('annotations'), 'annotations', findings),
    image: requireForm(fields.get('image'), 'image', IMAGE, tree, findings),
    pullPolicy: readChoice(fields.get('pull_policy'), 'pull_policy', PULL_POLICIES, findings),
    pullSecrets: readTexts(fields.get('pull_secrets'), 'pull_secrets', findings),
    command: readCommand(fields, tree, findings),
    env: readEnvironment(fields.get('env'), findings),
    identity: readIdentity(fields, findings),
    castellan: readCastellan(fields.get('castellan'), tree, findings),
    policy: readPolicy(fields.get('policy'), tree, findings),
    resources: readResources(fields.get('resources'), 'resources', findings),
    workspace: readWorkspace(fields.get('workspace'), findings),
    volumes: readVolumes(fields.get('volumes'), findings),
    serviceAccount: name('service_account'),
    runtimeClass: name('runtime_class'),
    priorityClass: name('priority_class'),
    nodeSelector: readLabels(fields.get('node_selector'), 'node_selector', findings),
    tolerations: readTolerations(fields.get('tolerations'), 'tolerations', findings),
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
