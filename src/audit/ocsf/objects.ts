/** The OCSF objects that several classes share. */
import { isIP } from 'node:net';
import type { Identity, Intent } from '../../egress/stages.ts';
import type { LaunchedProcess, PeerProcess, SocketAddress } from '../event.ts';
import type { AuditContext } from './base.ts';
import { commandLine } from './command-line.ts';

const TRANSPORTS: Readonly<Record<number, string>> = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  58: 'ipv6-icmp',
  132: 'sctp',
};

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1) || path;
}

export function userOf(uid: number, name?: string): object {
  const [id, type] = uid === 0 ? [2, 'Admin'] : [1, 'User'];
  return { uid: String(uid), name, type_id: id, type };
}

/** Castellan itself, as the one who acts. */
export function supervisor(context: AuditContext): { readonly process: object } {
  return {
    process: {
      name: 'castellan',
      pid: context.supervisorPid,
      uid: `${context.bootId}/${context.supervisorPid}`,
    },
  };
}

function regularFile(path: string, sha256?: string): object {
  const hashes =
    sha256 === undefined ? undefined : [{ algorithm_id: 3, algorithm: 'SHA-256', value: sha256 }];
  return { name: baseName(path), path, type_id: 1, type: 'Regular File', hashes };
}

/** The process behind a connection, with its ancestry, nearest first. */
export function actorOf(identity: Identity | undefined, context: AuditContext): object | undefined {
  if (identity === undefined) return undefined;
  const { pid, startTime, uid, executable, sha256, ancestors } = identity;
  const user = userOf(uid);
  return {
    process: {
      name: baseName(executable),
      pid,
      uid: `${context.bootId}/${pid}/${startTime}`,
      path: executable,
      file: regularFile(executable, sha256),
      user,
      ancestry:
        ancestors.length === 0 ? undefined : ancestors.map((path) => ({ name: baseName(path), path })),
    },
    user,
  };
}

export function launchedProcess(launched: LaunchedProcess, context: AuditContext): object {
  return {
    name: baseName(launched.argv[0] ?? ''),
    pid: launched.pid,
    uid: `${context.bootId}/${launched.sessionId}`,
    cmd_line: commandLine(launched.argv),
    user: userOf(launched.uid, launched.user),
  };
}

export function endpoint({ address, port }: SocketAddress): object {
  return { ip: address, port };
}

/** Where the workload wanted to go; `address` is where the connection went. */
export function destinationOf({ host, port }: Intent, address?: string): object {
  return isIP(host) === 0
    ? { hostname: host, domain: host, ip: address, port }
    : { ip: address ?? host, port };
}

export function connectionInfo(protocol: number, family: 4 | 6, uid: string | undefined): object {
  return {
    uid,
    direction_id: 2,
    direction: 'Outbound',
    protocol_num: protocol,
    protocol_name: TRANSPORTS[protocol],
    protocol_ver_id: family,
    protocol_ver: `Internet Protocol version ${family} (IPv${family})`,
  };
}

/** What the events of one connection have in common. */
export function flowOf(intent: Intent, address?: string): Readonly<Record<string, unknown>> {
  const { flow, adapter, connectionId } = intent;
  const explicit = adapter === 'connect' || adapter === 'forward';
  return {
    src_endpoint: { ip: flow.localAddress, port: flow.localPort },
    dst_endpoint: destinationOf(intent, address),
    connection_info: connectionInfo(6, flow.family, connectionId),
    proxy_endpoint: explicit
      ? { ip: flow.remoteAddress, port: flow.remotePort, name: 'egress-proxy' }
      : undefined,
    observables:
      isIP(intent.host) === 0
        ? [{ name: 'dst_endpoint.hostname', type_id: 1, type: 'Hostname', value: intent.host }]
        : undefined,
  };
}

export function ruleOf(name: string | undefined): object | undefined {
  return name === undefined ? undefined : { name, uid: name, type: 'egress' };
}

/** Who connected to a Unix socket: an endpoint that is a process. */
export function peerEndpoint({ pid }: PeerProcess): object {
  return { uid: `pid:${pid}`, name: 'local peer', svc_name: 'ssh-client' };
}
