import { CastellanError } from '../errors.ts';
import { canonicalHost } from '../policy/match/host.ts';
import type { Question } from './simulate.ts';

export interface AskedRequest {
  /** Paths; `@sha256:` and the hash may follow one. */
  readonly binaries: readonly [string, ...string[]];
  /** http(s)://host[:port]/path asks about a request, tcp://host:port about a connection. */
  readonly url: string;
  readonly method?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 };

/** As images are pinned: what stands before `@` is a name, what follows the content. */
const HASHED = /^(?<path>.*)@sha256:(?<sha256>[0-9a-f]{64})$/is;

function pathOf(program: string): string {
  return HASHED.exec(program)?.groups?.['path'] ?? program;
}

/** @throws CastellanError `usage` for a URL that is none of these */
export function questionOf({ binaries: programs, url, method, headers = {}, body }: AskedRequest): Question {
  const [program, ...ancestors] = programs;
  const binaries = [pathOf(program), ...ancestors.map(pathOf)] as const;
  const hashes = programs.map((each) => HASHED.exec(each)?.groups?.['sha256']?.toLowerCase());
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
  if (scheme === 'tcp') return { binaries, hashes, host, port };
  const target = parts?.['target'] ?? '/';
  const implied = body === undefined ? 'GET' : 'POST';
  return {
    binaries,
    hashes,
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
