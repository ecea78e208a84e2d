import { canonicalHost } from '../../policy/match/host.ts';

export interface Authority {
  /** Lower-case name without trailing dot, or canonical IP literal without brackets. */
  readonly host: string;
  readonly port: number;
}

/**
 * `host:port` or `[v6]:port` (RFC 3986 §3.2, without user information). Undefined for anything malformed, and where the
 * port is missing and there is no default.
 */
export function parseAuthority(text: string, defaultPort?: number): Authority | undefined {
  const parts =
    /^(?:\[(?<address>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\]|(?<name>[^:@[\]]+))(?::(?<port>[1-9][0-9]{0,4}))?$/.exec(
      text,
    )?.groups;
  if (parts === undefined) return undefined;
  const port = parts['port'] === undefined ? defaultPort : Number(parts['port']);
  const host = canonicalHost(parts['address'] ?? parts['name']?.replace(/\.$/, '') ?? '');
  if (host === undefined || port === undefined || port > 65_535) return undefined;
  return { host, port };
}

/** The authority as a Host header carries it; a scheme's default port is left out. */
export function formatAuthority({ host, port }: Authority, defaultPort?: number): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === defaultPort ? name : `${name}:${port}`;
}
