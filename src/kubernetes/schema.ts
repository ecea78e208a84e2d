/**
 * Whether an object has only the fields that Kubernetes knows, with values of their kind. The API server drops what it does not know
 * (a container's `fsGroup`, a misspelt `securityContext`) unless it is asked not to: the protection is then missing, and nobody says so.
 */
import { nearest } from '../lib/nearest.ts';
import { joinPath } from './field-path.ts';
import type { Finding } from './finding.ts';
import { SCHEMA_TABLE } from './schema-table.ts';

type Model = ReadonlyMap<string, string>;

/** agents.x-k8s.io is not in the client's models; `template` is what a pod is made of. */
const SANDBOX_TABLE = `
Sandbox apiVersion:string kind:string metadata:V1ObjectMeta spec:SandboxSpec status:any
SandboxSpec podTemplate:SandboxPodTemplate volumeClaimTemplates:SandboxClaimTemplate[] service:boolean shutdownTime:string shutdownPolicy:string operatingMode:string replicas:number
SandboxPodTemplate metadata:SandboxPodMetadata spec:V1PodSpec
SandboxPodMetadata labels:string{} annotations:string{}
SandboxClaimTemplate metadata:SandboxClaimMetadata spec:V1PersistentVolumeClaimSpec
SandboxClaimMetadata name:string labels:string{} annotations:string{}
`;

/** Amounts, which may be numbers in YAML. */
const QUANTITIES: ReadonlySet<string> = new Set([
  'limits',
  'requests',
  'sizeLimit',
  'divisor',
  'capacity',
  'overhead',
]);

/** What nothing can be said without. */
const REQUIRED: Readonly<Record<string, readonly string[]>> = {
  V1PodSpec: ['containers'],
  V1Container: ['name'],
  V1EphemeralContainer: ['name'],
  V1VolumeMount: ['name', 'mountPath'],
  V1VolumeDevice: ['name', 'devicePath'],
  V1Volume: ['name'],
  V1EnvVar: ['name'],
  V1Sysctl: ['name'],
};

/** Whether a finding leaves the shape of an object so that rules can read it. */
export function isReadable({ rule }: Finding): boolean {
  return rule !== 'wrong-type' && rule !== 'missing-field';
}

/** Everything about an object of a model that its fields do not allow. Pure. */
export function schemaFindings(value: unknown, model: string): Finding[] {
  const findings: Finding[] = [];
  checkValue(value, { type: model, key: '', path: '' }, readModels(), findings);
  return findings;
}

interface Place {
  readonly type: string;
  readonly key: string;
  readonly path: string;
}

function checkValue(
  value: unknown,
  place: Place,
  models: ReadonlyMap<string, Model>,
  findings: Finding[],
): void {
  const { type, key, path } = place;
  // A key without a value counts as absent.
  if (value === null || type === 'any') return;
  if (type.endsWith('[]')) {
    if (!Array.isArray(value)) wrongType(place, 'a list', findings);
    const item = type.slice(0, -2);
    for (const [index, child] of Array.isArray(value) ? value.entries() : []) {
      const at = { type: item, key, path: `${path}[${index}]` };
      if (child === null) wrongType(at, WORDS[item] ?? 'a mapping', findings);
      else checkValue(child, at, models, findings);
    }
    return;
  }
  const model = models.get(type);
  if (model === undefined && !type.endsWith('{}')) {
    if (!isOfType(value, type, key)) wrongType(place, WORDS[type] ?? `a ${type}`, findings);
    return;
  }
  if (typeof value !== 'object' || Array.isArray(value)) {
    wrongType(place, 'a mapping', findings);
    return;
  }
  for (const name of REQUIRED[type] ?? [])
    if (!Object.hasOwn(value, name)) missingField(joinPath(path, name), findings);
  for (const [name, child] of Object.entries(value)) {
    const at = joinPath(path, name);
    const childType = model === undefined ? type.slice(0, -2) : model.get(name);
    // Amounts are named in a map by what is counted.
    const childKey = model === undefined ? key : name;
    if (childType === undefined) unknownField(at, name, model, findings);
    else checkValue(child, { type: childType, key: childKey, path: at }, models, findings);
  }
}

const WORDS: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a whole number',
  boolean: 'true or false',
  IntOrString: 'a whole number or a text',
};

function isOfType(value: unknown, type: string, key: string): boolean {
  switch (type) {
    case 'string':
      return typeof value === 'string' || (typeof value === 'number' && QUANTITIES.has(key));
    case 'number':
      return typeof value === 'number' && Number.isSafeInteger(value);
    case 'boolean':
      return typeof value === 'boolean';
    case 'IntOrString':
      return typeof value === 'string' || (typeof value === 'number' && Number.isSafeInteger(value));
    default:
      return false;
  }
}

/** A distance to every known name is worth it for a person's mistakes, not for tens of thousands of fields. */
const MAX_SUGGESTIONS = 100;

function unknownField(path: string, name: string, model: Model | undefined, findings: Finding[]): void {
  const isWorthIt = name.length <= 100 && findings.length < MAX_SUGGESTIONS;
  const near = isWorthIt ? nearest(name, model?.keys() ?? []) : undefined;
  findings.push({
    rule: 'unknown-field',
    where: 'pod',
    path,
    why: 'Kubernetes knows no such field here, and drops it',
    remedy: near === undefined ? 'take it out, or put it where it belongs' : `did you mean ${near}?`,
  });
}

function missingField(path: string, findings: Finding[]): void {
  findings.push({
    rule: 'missing-field',
    where: 'pod',
    path,
    why: 'Kubernetes refuses the object without this field',
    remedy: 'add it',
  });
}

function wrongType({ path }: Place, wanted: string, findings: Finding[]): void {
  findings.push({
    rule: 'wrong-type',
    where: 'pod',
    path,
    why: `has to be ${wanted}`,
    remedy: 'write it as that; numbers as texts, and texts as numbers, take quotes or lose them',
  });
}

function readModels(): ReadonlyMap<string, Model> {
  return new Map(
    `${SCHEMA_TABLE}${SANDBOX_TABLE}`
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [name = '', ...fields] = line.split(' ');
        return [name, new Map(fields.map((field) => splitOnce(field)))];
      }),
  );
}

function splitOnce(field: string): [string, string] {
  const colon = field.indexOf(':');
  return [field.slice(0, colon), field.slice(colon + 1)];
}
