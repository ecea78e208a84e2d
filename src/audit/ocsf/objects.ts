/** The OCSF objects that several classes share. Numbers from outside are cut to what the schema's types hold. */
import { isIP } from 'node:net';
import type { Caller, Intent, RequestLine, TlsFacts } from '../../egress/stages.ts';
import { ANY_PROGRAM } from '../../policy/any-program.ts';
import type { LaunchedProcess, PeerProcess, SocketAddress } from '../event.ts';
import { type AuditContext, MAX_INTEGER, PRODUCT_NAME, type Stamp } from './base.ts';
import { commandLine } from './command-line.ts';

type Attributes = Readonly<Record<string, unknown>>;

/** IANA protocol numbers that workloads meet. */
const TRANSPORTS: ReadonlyMap<number, string> = new Map([
  [1, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
  [33, 'dccp'],
  [47, 'gre'],
  [58, 'ipv6-icmp'],
  [132, 'sctp'],
  [136, 'udplite'],
]);

/** The schema's ip_t; a longer form is no canonical address. */
const MAX_ADDRESS_LENGTH = 40;

/** The number where an integer_t holds it. */
export function integer(value: number): number | undefined {
  return Number.isInteger(value) && Math.abs(value) <= MAX_INTEGER ? value : undefined;
}

/** A whole count or duration as a long_t. */
export function long(value: number): number {
  return Math.min(Math.max(Math.round(value), 0), Number.MAX_SAFE_INTEGER) || 0;
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1) || path;
}

export function userOf(uid: number, context: AuditContext, name?: string): object {
  const known = context.user?.uid === uid ? context.user.name : undefined;
  const [id, type] = uid === 0 ? [2, 'Admin'] : [1, 'User'];
  return { uid: String(uid), name: name ?? known, type_id: id, type };
}

/** Castellan itself, as the one who acts. */
export function supervisor({ supervisorPid: pid, bootId }: AuditContext): { readonly process: object } {
  return { process: { name: PRODUCT_NAME, pid, uid: `${bootId}/${pid}` } };
}

function regularFile(path: string, sha256: string): object {
  const hashes = [{ algorithm_id: 3, algorithm: 'SHA-256', value: sha256 }];
  return { name: baseName(path), path, type_id: 1, type: 'Regular File', hashes };
}

/** The process behind a connection, with its ancestry, nearest first. */
export function actorOf(identity: Caller | undefined, context: AuditContext): object | undefined {
  if (identity === undefined || identity === ANY_PROGRAM) return undefined;
  const { pid, startTime, uid, executable, sha256, ancestors } = identity;
  const user = userOf(uid, context);
  return {
    process: {
      name: baseName(executable),
      pid: integer(pid),
      uid: `${context.bootId}/${pid}/${startTime}`,
      path: executable,
      file: regularFile(executable, sha256),
      user,
      // Entities and not parent processes, of whom more would have to be known; they have no place for a hash.
      ancestry:
        ancestors.length === 0 ? undefined : ancestors.map((path) => ({ name: baseName(path), path })),
    },
    user,
  };
}

export function launchedProcess(launched: LaunchedProcess, context: AuditContext): Attributes {
  const program = launched.argv[0] ?? '';
  return {
    name: baseName(program),
    pid: integer(launched.pid),
    uid: `${context.bootId}/${launched.sessionId}/${launched.pid}`,
    cmd_line: commandLine(launched.argv),
    user: { ...userOf(launched.uid, context, launched.user), groups: [{ uid: String(launched.gid) }] },
  };
}

/** An end of a connection by its address; what is no address stands as a name. */
export function endpoint({ address, port }: SocketAddress): Attributes {
  const [ip = ''] = address.split('%', 1);
  return isIP(ip) !== 0 && ip.length <= MAX_ADDRESS_LENGTH ? { ip, port } : { name: address, port };
}

/** Where the workload wanted to go; `address` is where the connection went. */
export function destinationOf({ host, port }: Intent, address?: string): Attributes {
  const literal = endpoint({ address: host, port });
  if ('ip' in literal) return literal;
  const dialled = address === undefined ? { port } : endpoint({ address, port });
  return { hostname: host, domain: host, ...dialled };
}

export function connectionInfo(protocol: number, family: 4 | 6, uid: string | undefined): object {
  return {
    uid,
    direction_id: 2,
    direction: 'Outbound',
    protocol_num: protocol,
    protocol_name: TRANSPORTS.get(protocol),
    protocol_ver_id: family,
    protocol_ver: `Internet Protocol version ${family} (IPv${family})`,
  };
}

/** What the events of one connection have in common. */
export function flowOf(intent: Intent, address?: string): Attributes {
  const { flow, adapter, connectionId } = intent;
  const explicit = adapter === 'connect' || adapter === 'forward';
  const destination = destinationOf(intent, address);
  const proxy = {
    ...endpoint({ address: flow.remoteAddress, port: flow.remotePort }),
    svc_name: 'egress-proxy',
  };
  return {
    src_endpoint: endpoint({ address: flow.localAddress, port: flow.localPort }),
    dst_endpoint: destination,
    connection_info: connectionInfo(6, flow.family, connectionId),
    proxy_endpoint: explicit ? proxy : undefined,
    observables: observables(
      { name: 'dst_endpoint.hostname', type_id: 1, type: 'Hostname', value: destination['hostname'] },
      { name: 'dst_endpoint.ip', type_id: 2, type: 'IP Address', value: destination['ip'] },
    ),
  };
}

/** Adapters cut the query; nothing else may let one in. */
export function requestUrl({ host, port }: Intent, { path, scheme }: RequestLine): { readonly path: string } {
  const url = { scheme, hostname: host, port, path: path.replace(/[?#].*$/s, '') };
  return url;
}

interface Observable {
  readonly name: string;
  readonly type_id: number;
  readonly type: 'Hostname' | 'IP Address';
  readonly value: unknown;
}

/** For search by value: those of an event's own attributes that are there. */
export function observables(...candidates: readonly Observable[]): readonly Observable[] | undefined {
  const found = candidates.filter(({ value }) => typeof value === 'string' && value !== '');
  return found.length === 0 ? undefined : found;
}

/** Bytes of an ended connection; `out` is what the workload sent. */
export function trafficOf(bytesIn: number, bytesOut: number): object {
  return { bytes_in: long(bytesIn), bytes_out: long(bytesOut), bytes: long(bytesIn + bytesOut) };
}

/** Start, end and length of what has just ended. */
export function spanOf(durationMs: number, { time }: Stamp): Attributes {
  const duration = long(durationMs);
  return { start_time: Math.max(time - duration, 0), end_time: time, duration };
}

/** TLS with an origin. A certificate is told by its issuer and number, which together name it. */
export function tlsOf({ version, cipher, serverName, issuer, serialNumber }: TlsFacts): object {
  const isNamed = issuer !== undefined && serialNumber !== undefined;
  return {
    version,
    cipher,
    sni: serverName,
    certificate: isNamed ? { issuer, serial_number: serialNumber } : undefined,
  };
}

export function ruleOf(name: string | undefined): object | undefined {
  return name === undefined ? undefined : { name, uid: name, type: 'egress' };
}

/** Who connected to a Unix socket: an endpoint that is a process. */
export function peerEndpoint({ pid }: PeerProcess): object {
  return { uid: `pid:${pid}`, name: 'local peer', svc_name: 'ssh-client' };
}
