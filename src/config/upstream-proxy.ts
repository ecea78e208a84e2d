/** The proxy that the operator's network demands: it comes from the command line alone, so that no image can choose it. */
import { canonicalAddress, formatBlock, parseBlock } from '../policy/match/address.ts';
import { parseHostName } from '../protocol/host-name.ts';
import { usage } from './values.ts';

export interface UpstreamProxy {
  /** How castellan speaks with the proxy itself. */
  readonly scheme: 'http' | 'https';
  /** Name, or IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  /** What is dialled without it. */
  readonly exceptions: readonly ProxyException[];
  /** It is told names, and looks them up itself; else the addresses that castellan has checked. */
  readonly byHostName: boolean;
}

export interface ProxyException {
  /** `domain`: the name and all below it; `subdomains`: only those below; `block`: addresses; `any`: everything. */
  readonly kind: 'any' | 'domain' | 'subdomains' | 'block';
  /** Canonical name or CIDR block; empty for `any`. */
  readonly value: string;
  /** Undefined: every port. */
  readonly port: number | undefined;
}

/** The options that say more about `--upstream-proxy`. */
const DEPENDENT_OPTIONS = [
  'upstream-no-proxy',
  'upstream-proxy-auth-file',
  'upstream-proxy-auth-allow-insecure',
  'upstream-proxy-connect-by-hostname',
] as const;

/** More would be a routing table, and is walked at every dial. */
export const MAX_PROXY_EXCEPTIONS = 256;

/**
 * Undefined where there is none.
 * @throws CastellanError `usage`
 */
export function readUpstreamProxy(
  options: ReadonlyMap<string, readonly string[]>,
): UpstreamProxy | undefined {
  const text = options.get('upstream-proxy')?.[0];
  if (text === undefined) {
    const lost = DEPENDENT_OPTIONS.find((name) => options.has(name));
    if (lost !== undefined) throw usage(`--${lost} takes --upstream-proxy`);
    return undefined;
  }
  const address = parseProxyUrl(text);
  if (
    address.scheme === 'http' &&
    options.has('upstream-proxy-auth-file') &&
    !options.has('upstream-proxy-auth-allow-insecure')
  )
    throw usage(
      '--upstream-proxy-auth-file would send the password unencrypted; use an https:// proxy, or add --upstream-proxy-auth-allow-insecure',
    );
  return {
    ...address,
    exceptions: readExceptions(options.get('upstream-no-proxy') ?? []),
    byHostName: options.has('upstream-proxy-connect-by-hostname'),
  };
}

/** The text is not repeated in messages: who writes a password into it should not find it in a log. */
function parseProxyUrl(text: string): Pick<UpstreamProxy, 'scheme' | 'host' | 'port'> {
  const url = URL.parse(text);
  const scheme = url?.protocol === 'http:' ? 'http' : url?.protocol === 'https:' ? 'https' : undefined;
  if (url === null || scheme === undefined)
    throw usage('--upstream-proxy takes http://HOST:PORT or https://HOST:PORT');
  if (url.username !== '' || url.password !== '')
    throw usage('--upstream-proxy holds no user and password; use --upstream-proxy-auth-file');
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw usage('--upstream-proxy takes no path');
  const host = hostOf(url.hostname);
  const port = url.port === '' ? { http: 80, https: 443 }[scheme] : Number(url.port);
  if (host === undefined || port === 0)
    throw usage('--upstream-proxy takes a host name or IP address, and a port from 1 to 65535');
  return { scheme, host, port };
}

function hostOf(text: string): string | undefined {
  return canonicalAddress(text.replace(/^\[(.*)\]$/, '$1')) ?? parseHostName(text);
}

function readExceptions(lists: readonly string[]): ProxyException[] {
  const entries = lists.flatMap((list) => list.split(/[\s,]+/)).filter((entry) => entry !== '');
  if (entries.length > MAX_PROXY_EXCEPTIONS)
    throw usage(`--upstream-no-proxy lists more than ${MAX_PROXY_EXCEPTIONS} entries`);
  return entries.map((entry) => {
    const exception = parseException(entry);
    if (exception !== undefined) return exception;
    throw usage(
      `--upstream-no-proxy ${entry}: a name, .suffix, address or CIDR block, with or without :PORT, or *`,
    );
  });
}

function parseException(entry: string): ProxyException | undefined {
  const block = parseBlock(entry);
  if (block !== undefined) return { kind: 'block', value: formatBlock(block), port: undefined };
  const [, place = '', digits] = /^(.*?)(?::(\d{1,5}))?$/.exec(entry) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  if (place === '*') return { kind: 'any', value: '', port };
  const addresses = parseBlock(place.replace(/^\[(.*)\]$/, '$1'));
  if (addresses !== undefined) return { kind: 'block', value: formatBlock(addresses), port };
  const suffix = /^\*?\.(.+)$/.exec(place)?.[1];
  const name = parseHostName(suffix ?? place);
  if (name === undefined) return undefined;
  return { kind: suffix === undefined ? 'domain' : 'subdomains', value: name, port };
}
