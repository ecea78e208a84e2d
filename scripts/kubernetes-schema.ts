/**
 * Writes src/kubernetes/schema-table.ts: the fields of everything that makes a pod, by the models of Kubernetes' own client. Run it
 * after an update of that package; a test says so.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const REPOSITORY = join(import.meta.dirname, '..');
const MODELS = 'node_modules/@kubernetes/client-node/dist/gen/models/all.js';
const TABLE = 'src/kubernetes/schema-table.ts';
const ROOTS = [
  'V1Pod',
  'V1PodTemplate',
  'V1Deployment',
  'V1StatefulSet',
  'V1DaemonSet',
  'V1ReplicaSet',
  'V1Job',
  'V1CronJob',
];

interface Attribute {
  readonly baseName: string;
  readonly type: string;
}
interface Model {
  getAttributeTypeMap(): readonly Attribute[];
}

/** The table's text: a line each model, `NAME FIELD:TYPE …`. */
export async function schemaTable(): Promise<string> {
  const models: Readonly<Record<string, Model | undefined>> = await import(
    pathToFileURL(join(REPOSITORY, MODELS)).href
  );
  const lines = new Map<string, string>();
  const visit = (name: string): void => {
    const model = models[name];
    if (model === undefined || lines.has(name)) return;
    lines.set(name, '');
    const fields = model
      .getAttributeTypeMap()
      .map(({ baseName, type }) => [baseName, shortType(type)] as const);
    lines.set(name, [name, ...fields.map(([field, type]) => `${field}:${type}`)].join(' '));
    for (const [, type] of fields) visit(type.replace(/[[\]{}]/g, ''));
  };
  for (const root of ROOTS) visit(root);
  return [...lines.values()].sort().join('\n');
}

/** `[]` is a list, `{}` a map. What a cluster writes, status, is not told further. */
function shortType(type: string): string {
  if (/Status$/.test(type)) return 'any';
  const list = /^Array<(.+)>$/.exec(type)?.[1];
  if (list !== undefined) return `${shortType(list)}[]`;
  const map = /^\{ \[key: string\]: (.+); \}$/.exec(type)?.[1];
  if (map !== undefined) return `${shortType(map)}{}`;
  if (type === 'Date' || type === 'V1MicroTime') return 'string';
  return type;
}

export function schemaModule(table: string): string {
  return `/** Written by scripts/kubernetes-schema.ts from the models of @kubernetes/client-node. */\nexport const SCHEMA_TABLE: string = \`\n${table}\n\`;\n`;
}

if (process.argv[1] === import.meta.filename)
  writeFileSync(join(REPOSITORY, TABLE), schemaModule(await schemaTable()));
