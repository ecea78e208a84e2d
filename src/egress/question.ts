import { CastellanError } from '../errors.ts';
import { canonicalHost } from '../policy/match/host.ts';
import type { Question } from './simulate.ts';

export interface AskedRequest {
  readonly binaries: readonly [string, ...string[]];
  /** http(s)://host[:port]/path asks about a request, tcp://host:port about a connection. */
  readonly url: string;
  readonly method?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 };

/** @throws CastellanError `usage` for a URL that is none of these */
export function questionOf({ binaries, url, method, headers = {}, body }: AskedRequest): Question {
  const parts =
    /^(?<scheme>https?|tcp):\/\/(?:\[(?<address>[^\]]+)\]|(?<name>[^/:?#[\]]+))(?::(?<port>\d{1,5}))?(?<target>[/?].*)?$/is.exec(
      url,
    )?.groups;
  const scheme = parts?.['scheme']?.toLowerCase() ?? '';
  const host = canonicalHost(parts?.['address'] ?? parts?.['name'] ?? '');
  const port = parts?.['port'] === undefined ? DEFAULT_PORTS[scheme] : Number(parts['port']);
  if (host === undefined || port === undefined || port < 1 || port > 65_535)
    throw new CastellanError('usage', `${url} is no URL such as https://host/path or tcp://host:port`, {
      step: 'arguments',
      object: url,
    });
  if (scheme === 'tcp') return { binaries, host, port };
  const target = parts?.['target'] ?? '/';
  const implied = body === undefined ? 'GET' : 'POST';
  return {
    binaries,
    host,
    port,
    request: {
      method: method ?? implied,
      target: target.startsWith('/') ? target : `/${target}`,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: Buffer.from(body ?? ''),
    },
  };
}
