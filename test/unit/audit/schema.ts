/**
 * Says what is wrong with an event: by the official schema where a compiled copy lies beside the repository, and
 * always by the rules of our own below.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../architecture/sources.ts';

interface Finding {
  readonly code: string;
  readonly path: string;
  readonly msg: string;
}

interface Validator {
  validate(event: unknown): { readonly errors: readonly Finding[]; readonly warnings: readonly Finding[] };
}

const KIT = join(ROOT, '../shared/ocsf');
const SCHEMA = join(KIT, 'slim/ocsf-1.8.0.slim.json');
export const hasOfficialSchema = existsSync(SCHEMA);

const BASE = [
  'activity_id',
  'category_uid',
  'class_uid',
  'metadata',
  'severity_id',
  'time',
  'type_uid',
  'message',
];
/** What OCSF 1.8.0 requires of each class beyond its base; of a list in a list, one. */
const REQUIRED: Readonly<Record<number, readonly (string | readonly string[])[]>> = {
  1001: ['actor', 'device', 'file'],
  1007: ['actor', 'device', 'process'],
  1008: ['log_name'],
  2004: ['finding_info'],
  4001: [['src_endpoint', 'dst_endpoint']],
  4002: [['http_request', 'http_response']],
  4003: [['src_endpoint', 'dst_endpoint']],
  4007: [['src_endpoint', 'dst_endpoint']],
  5019: ['device'],
  6002: ['app'],
  6003: ['actor', 'api', 'src_endpoint'],
  6008: [],
};

/** Gives the function that lists an event's faults; none for a valid one. */
export async function loadValidator(): Promise<(event: Readonly<Record<string, unknown>>) => string[]> {
  const official = hasOfficialSchema ? await loadOfficial() : undefined;
  return (event) => {
    const { errors = [], warnings = [] } = official?.validate(event) ?? {};
    const told = [...errors, ...warnings].map(({ code, path, msg }) => `${code} ${path} ${msg}`);
    return [...told, ...ownFaults(event)];
  };
}

async function loadOfficial(): Promise<Validator> {
  const { OcsfValidator } = (await import(pathToFileURL(join(KIT, 'tools/ocsf-validate.mjs')).href)) as {
    OcsfValidator: new (schema: unknown) => Validator;
  };
  return new OcsfValidator(JSON.parse(readFileSync(SCHEMA, 'utf8')));
}

function ownFaults(event: Readonly<Record<string, unknown>>): string[] {
  const has = (name: string) => event[name] !== undefined && event[name] !== null;
  const required = [...BASE, ...(REQUIRED[Number(event['class_uid'])] ?? ['a class that is known here'])];
  const missing = required
    .filter((name) => (typeof name === 'string' ? !has(name) : !name.some(has)))
    .map((name) => `${name} is missing`);
  const { class_uid, activity_id, category_uid, type_uid } = event;
  const sums = [
    type_uid === Number(class_uid) * 100 + Number(activity_id) ? [] : ['type_uid does not fit'],
    category_uid === Math.floor(Number(class_uid) / 1000) ? [] : ['category_uid does not fit'],
  ];
  return [...missing, ...sums.flat(), ...badValues(event, '')];
}

/** Nothing that JSON turns into something else, and no text that is not Unicode. */
function badValues(value: unknown, path: string): string[] {
  if (typeof value === 'string') return value.isWellFormed() ? [] : [`${path} is not well-formed`];
  if (typeof value === 'number') return Number.isFinite(value) ? [] : [`${path} is ${value}`];
  if (typeof value === 'boolean') return [];
  if (typeof value !== 'object' || value === null) return [`${path} is ${value}`];
  return Object.entries(value).flatMap(([name, each]) => badValues(each, `${path}/${name}`));
}
