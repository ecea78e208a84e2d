/** OCSF objects that several classes are made of. Numbers are cut to what the schema's types hold. */
import { isIP } from 'node:net';
import type { Identity } from '../../egress/stages.ts';
import type { LaunchedProcess, PeerProcess } from '../event.ts';
import { commandLine } from '../redact.ts';
import { type Attributes, PRODUCT, type Stamp } from './base.ts';

const MAX_INTEGER = 2 ** 31 - 1;
/** The schema's ip_t; longer forms are no canonical address. */
const MAX_ADDRESS_LENGTH = 40;

/** The number where an OCSF integer_t holds it. */
export function integer(value: number): number | undefined {
  return Number.isInteger(value) && Math.abs(value) <= MAX_INTEGER ? value : undefined;
}

/** A whole count or duration as an OCSF long_t. */
export function long(value: number): number {
  return Math.min(Math.max(Math.round(value), 0), Number.MAX_SAFE_INTEGER) || 0;
}

/** The last component of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1) || path;
}

/** An end of a connection by its address; what is no address stands as a name. */
export function endpoint(address: string, port: number): Attributes {
  const [ip = ''] = address.split('%', 1);
  const isAddress = isIP(ip) !== 0 && ip.length <= MAX_ADDRESS_LENGTH;
  return { ...(isAddress ? { ip } : { name: address }), port };
}

/** For search by value: what an event's own attributes at these paths hold. */
export function observables(...found: readonly (readonly [name: string, type: 'Hostname' | 'IP Address', value: unknown])[]) {
  const listed = found
    .filter(([, , value]) => typeof value === 'string' && value !== '')
    .map(([name, type, value]) => ({ name, type_id: type === 'Hostname' ? 1 : 2, type, value }));
  return listed.length === 0 ? {} : { observables: listed };
}

export function user(uid: number, { known }: Pick<Stamp, 'known'>, name?: string): Attributes {
  const known_name = known.user?.uid === uid ? known.user.name : undefined;
  const type = uid === 0 ? { type_id: 2, type: 'Admin' } : { type_id: 1, type: 'User' };
  return { name: name ?? known_name, uid: String(uid), ...type };
}

/** castellan itself. */
export function supervisor({ known, context }: Stamp): Attributes {
  const { supervisorPid: pid } = known;
  return { process: { name: PRODUCT, pid, uid: `${context.bootId}/${pid}` } };
}

/** The process behind a connection. Ancestors are known by path alone, so that they are entities, not processes. */
export function caller({ pid, startTime, uid, executable, sha256, ancestors }: Identity, stamp: Stamp): Attributes {
  const who = user(uid, stamp);
  const process = {
    name: baseName(executable),
    pid: integer(pid),
    uid: `${pid}/${startTime}`,
    path: executable,
    file: executableFile(executable, sha256),
    user: who,
    ancestry: ancestors.length === 0 ? undefined : ancestors.map((path) => ({ name: baseName(path), path })),
  };
  return { process, user: who };
}

function executableFile(path: string, sha256: string): Attributes {
  const hash = { algorithm_id: 3, algorithm: 'SHA-256', value: sha256 };
  return {
    name: baseName(path),
    path,
    type_id: 8,
    type: 'Executable File',
    hashes: sha256 === '' ? undefined : [hash],
  };
}

/** A process that castellan started. */
export function launched({ pid, argv, uid, gid, user: name }: LaunchedProcess, stamp: Stamp): Attributes {
  const program = argv[0] ?? '';
  return {
    name: baseName(program),
    pid: integer(pid),
    uid: `${stamp.context.bootId}/${pid}`,
    path: program,
    cmd_line: commandLine(argv),
    user: { ...user(uid, stamp, name), groups: [{ uid: String(gid) }] },
  };
}

/** Who connected to a Unix socket. */
export function peer({ pid, uid, gid }: PeerProcess, stamp: Stamp): Attributes {
  return {
    process: { pid: integer(pid), uid: String(pid) },
    user: { ...user(uid, stamp), groups: [{ uid: String(gid) }] },
  };
}

/** The policy in force, once it is known. */
export function policy({ known }: Stamp): Attributes {
  if (known.policy === undefined) return {};
  const { path, digest } = known.policy;
  return { policy: { name: baseName(path), uid: digest, is_applied: true } };
}

export function file(path: string, type: 'Regular File' | 'Unknown'): Attributes {
  return { name: baseName(path), path, type_id: type === 'Unknown' ? 0 : 1, type };
}

/** Start, end and length of something that has just ended. */
export function span(durationMs: number, { time }: Stamp): Attributes {
  const duration = long(durationMs);
  return { start_time: Math.max(time - duration, 0), end_time: time, duration };
}
