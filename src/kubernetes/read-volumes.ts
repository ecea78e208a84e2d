/** The workspace and the volumes of a request. */
import { readFields, readList } from '../policy/source/fields.ts';
import { type Findings, refuse } from '../policy/source/findings.ts';
import type { TreeNode } from '../policy/source/tree.ts';
import { isReservedName } from './layout.ts';
import {
  LABEL_NAME,
  OBJECT_NAME,
  QUANTITY,
  readForm,
  readPath,
  readSwitch,
  requireForm,
} from './read-values.ts';
import {
  DEFAULT_WORKSPACE_SIZE,
  type RequestedVolume,
  type VolumeSource,
  type Workspace,
} from './request.ts';

const SOURCES = ['empty_dir', 'claim', 'claim_template', 'config_map'] as const;
const WORKSPACE_SOURCES = ['empty_dir', 'claim', 'claim_template'] as const;
const EMPTY: VolumeSource = { kind: 'empty-dir', sizeLimit: undefined };

/** The workspace; an empty directory of the pod's where nothing is said. */
export function readWorkspace(node: TreeNode | undefined, findings: Findings): Workspace {
  if (node === undefined) return { source: EMPTY, seed: false };
  const fields = readFields(node, 'workspace', [...WORKSPACE_SOURCES, 'seed'], findings);
  const source = readSource(fields, 'workspace', WORKSPACE_SOURCES, findings);
  if (source === 'several')
    refuse(findings, node.position, `workspace can be one of ${WORKSPACE_SOURCES.join(', ')}`);
  return {
    source: source === undefined || source === 'several' ? EMPTY : source,
    seed: readSwitch(fields.get('seed'), 'workspace.seed', false, findings),
  };
}

/** Further volumes. What the agent must not see, secrets, has no kind here. */
export function readVolumes(node: TreeNode | undefined, findings: Findings): RequestedVolume[] {
  const names = new Set(['workspace']);
  return readList(node, 'volumes', findings).flatMap((item, index) => {
    const where = `volumes[${index}]`;
    const fields = readFields(item, where, ['name', 'mount', 'read_only', ...SOURCES], findings);
    const name = requireForm(fields.get('name'), `${where}.name`, LABEL_NAME, item, findings);
    if (isReservedName(name) || names.has(name))
      refuse(findings, item.position, `${where}.name ${name} is reserved, or another volume's`);
    names.add(name);
    if (!fields.has('mount')) refuse(findings, item.position, `${where}.mount is missing`);
    const mount = readPath(fields.get('mount'), `${where}.mount`, findings) ?? '';
    const source = readSource(fields, where, SOURCES, findings);
    if (source === undefined || source === 'several')
      return refuse(findings, item.position, `${where} needs one of ${SOURCES.join(', ')}`) ?? [];
    const readOnly = readSwitch(fields.get('read_only'), `${where}.read_only`, false, findings);
    return [{ name, mount, readOnly: readOnly || source.kind === 'config-map', source }];
  });
}

function readSource(
  fields: ReadonlyMap<string, TreeNode>,
  where: string,
  kinds: readonly (typeof SOURCES)[number][],
  findings: Findings,
): VolumeSource | 'several' | undefined {
  const given = kinds.flatMap((kind) => {
    const node = fields.get(kind);
    return node === undefined ? [] : [{ kind, node }];
  });
  const [first, second] = given;
  if (second !== undefined) return 'several';
  if (first === undefined) return undefined;
  const { kind, node } = first;
  const at = `${where}.${kind}`;
  switch (kind) {
    case 'empty_dir': {
      const size = readFields(node, at, ['size_limit'], findings).get('size_limit');
      return { kind: 'empty-dir', sizeLimit: readForm(size, `${at}.size_limit`, QUANTITY, findings) };
    }
    case 'claim':
      return { kind: 'claim', claim: readForm(node, at, OBJECT_NAME, findings) ?? '' };
    case 'claim_template': {
      const asked = readFields(node, at, ['size', 'storage_class'], findings);
      return {
        kind: 'claim-template',
        size: readForm(asked.get('size'), `${at}.size`, QUANTITY, findings) ?? DEFAULT_WORKSPACE_SIZE,
        storageClass: readForm(asked.get('storage_class'), `${at}.storage_class`, OBJECT_NAME, findings),
      };
    }
    case 'config_map':
      return { kind: 'config-map', configMap: readForm(node, at, OBJECT_NAME, findings) ?? '' };
  }
}
