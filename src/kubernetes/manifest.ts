/** Files of objects, and the pods that they make. */
import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import { CastellanError } from '../errors.ts';
import { at } from '../lib/json.ts';
import { type Findings, inTextOrder } from '../policy/source/findings.ts';
import { readTrees, type TreeNode } from '../policy/source/tree.ts';
import { pathKeys } from './field-path.ts';
import { plainValue, withoutNulls } from './plain.ts';

/** Objects that make pods: the model of the object, and where in it the pod is. */
const POD_MAKERS: Readonly<Record<string, { readonly model: string; readonly pod: string }>> = {
  'v1/Pod': { model: 'V1Pod', pod: '' },
  'v1/PodTemplate': { model: 'V1PodTemplate', pod: 'template' },
  'apps/v1/Deployment': { model: 'V1Deployment', pod: 'spec.template' },
  'apps/v1/StatefulSet': { model: 'V1StatefulSet', pod: 'spec.template' },
  'apps/v1/DaemonSet': { model: 'V1DaemonSet', pod: 'spec.template' },
  'apps/v1/ReplicaSet': { model: 'V1ReplicaSet', pod: 'spec.template' },
  'batch/v1/Job': { model: 'V1Job', pod: 'spec.template' },
  'batch/v1/CronJob': { model: 'V1CronJob', pod: 'spec.jobTemplate.spec.template' },
  'agents.x-k8s.io/v1alpha1/Sandbox': { model: 'Sandbox', pod: 'spec.podTemplate' },
  'agents.x-k8s.io/v1beta1/Sandbox': { model: 'Sandbox', pod: 'spec.podTemplate' },
};

export interface ManifestObject {
  readonly kind: string;
  readonly name: string;
  readonly value: unknown;
  readonly model: string;
  /** Of the pod in the object; empty where it is one. */
  readonly podPath: string;
  /** Volumes that a controller adds to the pod. */
  readonly claimVolumes: readonly string[];
  /** The line a field stands in, or what is nearest above it. */
  lineOf(path: string): number;
}

export interface Manifest {
  readonly objects: readonly ManifestObject[];
  /** Kinds and names of objects that make no pod as far as is known here. */
  readonly others: readonly string[];
}

/**
 * @param file names the text in messages
 * @throws CastellanError `manifest_invalid` for what is no YAML, with line and column
 */
export function parseManifest(text: string, file: string): Manifest {
  const findings: Findings = { file, problems: [], notices: [] };
  const trees = readTrees(text, findings);
  const [first] = findings.problems.toSorted((a, b) => inTextOrder(a.position, b.position));
  if (trees === undefined || first !== undefined) {
    const { position, message } = first ?? { position: { line: 1, column: 1 }, message: 'is no YAML' };
    throw new CastellanError('manifest_invalid', `${file}:${position.line}:${position.column}: ${message}`, {
      step: 'kubernetes/manifest',
      object: file,
      remedy: 'correct the YAML',
    });
  }
  const all = trees.flatMap(listItems);
  const objects = all.map(readObject);
  return {
    objects: objects.filter((object) => object !== undefined),
    others: all.flatMap((tree, index) => (objects[index] === undefined ? [nameOf(plainValue(tree))] : [])),
  };
}

/** The pod of an object whose fields have been found to be what they should be. */
export function podOf({ value, podPath }: ManifestObject): V1PodTemplateSpec {
  return asPod(podPath === '' ? value : at(value, ...pathKeys(podPath)));
}

function asPod(value: unknown): V1PodTemplateSpec {
  return (value ?? {}) as V1PodTemplateSpec;
}

/** `kind: List`, as kubectl prints more than one. */
function listItems(tree: TreeNode): readonly TreeNode[] {
  if (tree.kind !== 'map') return [tree];
  const kind = tree.entries.get('kind')?.value;
  const items = tree.entries.get('items')?.value;
  const isList = kind?.kind === 'scalar' && typeof kind.value === 'string' && kind.value.endsWith('List');
  return isList && items?.kind === 'list' ? items.items : [tree];
}

function readObject(tree: TreeNode): ManifestObject | undefined {
  const value = withoutNulls(plainValue(tree));
  const kind = at(value, 'kind');
  const maker = POD_MAKERS[`${at(value, 'apiVersion')}/${kind}`];
  if (maker === undefined) return undefined;
  const templates = at(value, 'spec', 'volumeClaimTemplates');
  return {
    kind: String(kind),
    name: String(at(value, 'metadata', 'name') ?? at(value, 'metadata', 'generateName') ?? ''),
    value,
    model: maker.model,
    podPath: maker.pod,
    claimVolumes: Array.isArray(templates)
      ? templates.flatMap((template) => {
          const name = at(template, 'metadata', 'name');
          return typeof name === 'string' ? [name] : [];
        })
      : [],
    lineOf: (path) => nearestLine(tree, pathKeys(path)),
  };
}

function nameOf(value: unknown): string {
  return `${at(value, 'kind') ?? 'object without a kind'} ${at(value, 'metadata', 'name') ?? ''}`.trim();
}

function nearestLine(tree: TreeNode, keys: readonly string[]): number {
  let node = tree;
  let { line } = tree.position;
  for (const key of keys) {
    if (node.kind === 'scalar') break;
    const entry = node.kind === 'map' ? node.entries.get(key) : undefined;
    const child = node.kind === 'list' ? node.items[Number(key)] : entry?.value;
    if (child === undefined) break;
    line = entry?.keyPosition.line ?? child.position.line;
    node = child;
  }
  return line;
}
