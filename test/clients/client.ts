/** What a row of the tables says, and what it is run with. */
import { dirname } from 'node:path';
import { ORIGIN_ADDRESS, REPOSITORY } from '../fakes/world.ts';
import { CLOSED, FORBIDDEN, OPENED, PORTS, RAW } from './places.ts';

/** `proxy`: as castellan sets the environment; `direct`: without the proxy's variables; `bare`: without any of castellan's. */
export const WAYS = ['proxy', 'direct', 'bare'] as const;
export type Way = (typeof WAYS)[number];

/** Whether TLS passes as it is, or is opened and its requests are judged. */
export type Tls = 'closed' | 'opened';

/** How a client hears that it may not: as the answer to its request, from the proxy, or from the DNS. */
export interface Said {
  readonly request?: RegExp;
  readonly tunnel?: RegExp;
  readonly name?: RegExp;
}

export interface Client {
  readonly name: string;
  /**
   * Lines of bash, run in an empty directory that is HOME and TMPDIR too. $URL is the origin's base, $FILES the file
   * server's, $HOST the name of both.
   */
  readonly script: string;
  readonly prints: RegExp;
  /** The same with what the policy does not allow: $REFUSED, a URL below $REFUSED_BASE, or $REFUSED_HOST, a name. */
  readonly refused?: string;
  readonly says?: Said;
  /** By default by the proxy and without. */
  readonly ways?: readonly Way[];
  /** By default both. */
  readonly tls?: readonly Tls[];
  /** Run without root too. */
  readonly core?: true;
}

export const NODE = process.execPath;
export const READABLE = [dirname(NODE), REPOSITORY];

const PROXY = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'ALL_PROXY',
  'NO_PROXY',
  'grpc_proxy',
  'NODE_USE_ENV_PROXY',
].flatMap((name) => [name, name.toLowerCase()]);

const WITHOUT: Readonly<Record<Way, readonly string[]>> = {
  proxy: [],
  direct: PROXY.map((name) => `--unset=${name}`),
  bare: ['--ignore-environment'],
};

/** The command line of a client: its variables, then what it should reach, then what it should not. */
export function commandOf({ script, refused }: Client, way: Way, tls: Tls, work: string): string[] {
  const host = tls === 'closed' ? CLOSED : OPENED;
  const refusedBase = tls === 'closed' ? `https://${FORBIDDEN}` : `https://${OPENED}/forbidden`;
  const variables = {
    PATH: '/usr/bin:/bin:/usr/sbin:/sbin',
    HOME: work,
    TMPDIR: work,
    LANG: 'C.UTF-8',
    HOST: host,
    URL: `https://${host}`,
    FILES: `https://${host}:${PORTS.files}`,
    REFUSED_HOST: tls === 'closed' ? FORBIDDEN : OPENED,
    REFUSED_BASE: refusedBase,
    REFUSED: `${refusedBase}/echo`,
  };
  const assignments = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const lines = [script, ...(refused === undefined ? [] : [`echo '${BETWEEN}'`, `( ${refused}\n) 2>&1`])];
  return ['/usr/bin/env', ...WITHOUT[way], ...assignments, '/bin/bash', '-c', lines.join('\n')];
}

export const BETWEEN = '--- refused ---';

export const POLICY = `network_policies:
  closed:
    endpoints:
      - { host: ${CLOSED}, ports: [${[PORTS.http, PORTS.https, PORTS.files, PORTS.grpc].join(', ')}], allowed_ips: [${ORIGIN_ADDRESS}] }
    binaries: [{ path: "/**" }]
  opened:
    endpoints:
      - host: ${OPENED}
        ports: [${[PORTS.http, PORTS.https, PORTS.files, PORTS.grpc].join(', ')}]
        protocol: rest
        enforcement: enforce
        allow_encoded_slash: true
        allowed_ips: [${ORIGIN_ADDRESS}]
        access: full
        deny_rules:
          - { path: "/forbidden/**" }
          - { path: "/git/readonly.git/info/refs", query: { service: git-receive-pack } }
          - { path: "/git/readonly.git/git-receive-pack" }
    binaries: [{ path: "/**" }]
  raw:
    endpoints:
      - { host: ${RAW}, ports: [${[PORTS.ssh, PORTS.smtp, PORTS.imap, PORTS.postgres, PORTS.redis].join(', ')}], protocol: tcp, allowed_ips: [${ORIGIN_ADDRESS}] }
    binaries: [{ path: "/**" }]
`;
