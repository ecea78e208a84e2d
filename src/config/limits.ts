/** `--limit NAME=VALUE`: what the agent's processes may use, each (resource limits) or together (cgroup). */
import type { CastellanError } from '../errors.ts';
import { nearest } from '../lib/nearest.ts';
import { usage } from './values.ts';

export interface Limits {
  /** Of all processes together; takes a delegated cgroup v2. */
  readonly together: { readonly memoryBytes?: number; readonly pids?: number; readonly cpus?: number };
  /** Of each process; numbers of getrlimit(2). */
  readonly each: readonly { readonly resource: number; readonly value: number }[];
}

interface LimitDefinition {
  readonly unit: 'bytes' | 'count' | 'seconds' | 'cpus';
  readonly meaning: string;
  /** RLIMIT_*; absent for what a cgroup bounds. */
  readonly resource?: number;
  readonly together?: 'memoryBytes' | 'pids' | 'cpus';
}

/** Names as in limits.conf(5) and cgroups(7). */
export const LIMITS: Readonly<Record<string, LimitDefinition>> = {
  memory: { unit: 'bytes', together: 'memoryBytes', meaning: 'memory of all processes together' },
  pids: { unit: 'count', together: 'pids', meaning: 'processes and threads together' },
  cpu: { unit: 'cpus', together: 'cpus', meaning: 'CPUs for all together, such as 1.5' },
  cputime: { unit: 'seconds', resource: 0, meaning: 'CPU time of each process' },
  fsize: { unit: 'bytes', resource: 1, meaning: 'size of a file that is written' },
  stack: { unit: 'bytes', resource: 3, meaning: 'stack of each process' },
  nproc: { unit: 'count', resource: 6, meaning: 'processes of the uid' },
  nofile: { unit: 'count', resource: 7, meaning: 'open files of each process' },
  memlock: { unit: 'bytes', resource: 8, meaning: 'locked memory of each process' },
  as: { unit: 'bytes', resource: 9, meaning: 'address space of each process' },
};

const BYTES = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 } as const;
/** Of a quota of less the scheduler makes pauses of seconds. */
const MIN_CPUS = 0.01;

/** @throws CastellanError `usage` for an unknown name, a value that is none, or one name twice */
export function readLimits(assignments: readonly string[]): Limits {
  const together: Record<string, number> = {};
  const each: { resource: number; value: number }[] = [];
  const seen = new Set<string>();
  for (const assignment of assignments) {
    const equals = assignment.indexOf('=');
    const name = equals < 0 ? assignment : assignment.slice(0, equals);
    const definition = Object.hasOwn(LIMITS, name) ? LIMITS[name] : undefined;
    if (definition === undefined) throw unknown(name);
    if (seen.has(name)) throw usage(`--limit ${name} is given twice`);
    seen.add(name);
    const value = readValue(name, equals < 0 ? '' : assignment.slice(equals + 1), definition.unit);
    if (definition.together !== undefined) together[definition.together] = value;
    if (definition.resource !== undefined) each.push({ resource: definition.resource, value });
  }
  return { together, each };
}

function readValue(name: string, text: string, unit: LimitDefinition['unit']): number {
  const value = unit === 'bytes' ? readBytes(text) : unit === 'cpus' ? readCpus(text) : readWhole(text);
  if (value === undefined || !Number.isSafeInteger(unit === 'cpus' ? 0 : value))
    throw usage(`--limit ${name}=${text}: ${FORMS[unit]}`);
  return value;
}

const FORMS = {
  bytes: 'a whole number of bytes above 0, with K, M, G or T for powers of 1024',
  count: 'a whole number above 0',
  seconds: 'a whole number of seconds above 0',
  cpus: `a number of CPUs from ${MIN_CPUS}, such as 1.5`,
} as const;

function readWhole(text: string): number | undefined {
  return /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined;
}

function readBytes(text: string): number | undefined {
  const match = /^([1-9]\d{0,15})([KMGT]?)$/.exec(text);
  return match === null ? undefined : Number(match[1]) * BYTES[(match[2] ?? '') as keyof typeof BYTES];
}

function readCpus(text: string): number | undefined {
  const value = /^\d{1,4}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  return value >= MIN_CPUS ? value : undefined;
}

function unknown(name: string): CastellanError {
  const near = nearest(name, Object.keys(LIMITS));
  return usage(
    `--limit ${name}: there is no such limit${near === undefined ? ` (there are ${Object.keys(LIMITS).join(', ')})` : `; did you mean "${near}"?`}`,
  );
}
