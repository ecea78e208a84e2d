/** What one HTTP request asks for, from its request line and Host, by the strictest reading of RFC 9112 §3.2. */
import type { IncomingMessage } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http2';
import { FACT_LIMITS } from '../../policy/fact-limits.ts';
import type { AdapterName, Objection } from '../stages.ts';
import { type Authority, formatAuthority, parseAuthority } from './authority.ts';

const HTTP_PORT = 80;
/** As much as a record takes. A client of HTTP/2 hears of the limit on its header only after its first requests. */
export const MAX_METHOD_LENGTH = FACT_LIMITS.method;
export const MAX_TARGET_LENGTH = FACT_LIMITS.text;

/** Where a redirected connection was going, as far as it is known before the request. */
export interface Dialled {
  /** The name behind a synthetic address. */
  readonly name: string | undefined;
  readonly port: number;
  /** The connection whose inside this is came in by this way; undefined for one that was not opened here. */
  readonly opened?: { readonly adapter: AdapterName; readonly scheme: 'http' | 'https' };
}

export type RequestTarget =
  | {
      readonly ok: true;
      readonly authority: Authority /** In origin form, or `*`. */;
      readonly path: string;
      readonly objection: Objection | undefined;
    }
  | { readonly ok: false; readonly status: number; readonly error: string; readonly detail: string };

type Request = Pick<IncomingMessage, 'method' | 'url' | 'httpVersion' | 'headers' | 'rawHeaders'>;

/** `dialled` is set for redirected connections: their clients mean to speak with the origin itself. */
export function requestTarget(request: Request, dialled: Dialled | undefined): RequestTarget {
  const flaw = framingFlaw(request) ?? fieldFlaw(request);
  if (flaw !== undefined) return malformed(flaw);
  const url = request.url ?? '';
  if (request.headers.host === undefined && request.httpVersion === '1.1')
    return malformed('there is no Host header');
  if (/^https:/i.test(url))
    return refused(
      'unsupported_proxy_scheme',
      'https:// goes through a proxy by CONNECT; configure the client for it',
    );
  const absolute = /^http:\/\/(?<authority>[^/?]*)(?<path>.*)$/is.exec(url)?.groups;
  if (absolute !== undefined)
    return absoluteTarget(absolute['authority'] ?? '', absolute['path'] ?? '', request.method, dialled);
  if (dialled === undefined)
    return refused('proxy_request_expected', 'this is a proxy: send http://host/path, or CONNECT host:port');
  return originTarget(request, url, dialled);
}

/**
 * The same for HTTP/2 in an opened connection (RFC 9113 §8.3.1); node:http2 has refused what is repeated, out of order or of one
 * hop. `raw` is the header as a flat list.
 */
export function http2Target(
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  dialled: Dialled | undefined,
): RequestTarget {
  const { ':method': method, ':scheme': scheme, ':authority': authority, ':path': path, host } = headers;
  if (dialled?.opened === undefined || method === 'CONNECT')
    return malformed('this connection is meant for an origin, not for a proxy');
  if (scheme !== dialled.opened.scheme) return malformed('the scheme is not that of the connection');
  if (host !== undefined && authority !== undefined && host.toLowerCase() !== authority.toLowerCase())
    return malformed('Host is not :authority');
  if ((method ?? '').length > MAX_METHOD_LENGTH || (path ?? '').length > MAX_TARGET_LENGTH)
    return malformed('the method or the target of the request is too long');
  const request = {
    method,
    url: path,
    httpVersion: '2.0',
    headers: { host: authority ?? host },
    rawHeaders: [...raw],
  };
  const flaw = fieldFlaw(request);
  return flaw === undefined ? originTarget(request, path ?? '', dialled) : malformed(flaw);
}

/** CONNECT's authority form: the port is not optional. */
export function connectTarget(request: Request, dialled: Dialled | undefined): RequestTarget {
  const flaw = framingFlaw(request) ?? fieldFlaw(request);
  if (flaw !== undefined) return malformed(flaw);
  if (dialled !== undefined) return malformed('this connection is meant for an origin, not for a proxy');
  const authority = parseAuthority(request.url ?? '');
  if (authority === undefined) return malformed('CONNECT takes host:port');
  return { ok: true, authority, path: '', objection: undefined };
}

function absoluteTarget(
  text: string,
  rest: string,
  method: string | undefined,
  dialled: Dialled | undefined,
): RequestTarget {
  const authority = parseAuthority(text, dialled?.port ?? HTTP_PORT);
  if (authority === undefined) return malformed('the host of the request target is malformed');
  // RFC 9112 §3.2.4: OPTIONS without a path asks about the server.
  const path = rest === '' && method === 'OPTIONS' ? '*' : rest.startsWith('/') ? rest : `/${rest}`;
  return { ok: true, authority, path, objection: disagreement(authority, dialled) };
}

function originTarget(request: Request, url: string, dialled: Dialled): RequestTarget {
  if (!url.startsWith('/') && !(url === '*' && request.method === 'OPTIONS'))
    return malformed('the request target is malformed');
  const authority = parseAuthority(request.headers.host ?? '', dialled.port);
  if (authority === undefined) return malformed('the Host header is missing or malformed');
  return { ok: true, authority, path: url, objection: disagreement(authority, dialled) };
}

/** A connection opened for one name must not carry requests for another, nor for another port. */
function disagreement(authority: Authority, dialled: Dialled | undefined): Objection | undefined {
  if (dialled === undefined) return undefined;
  if (authority.port !== dialled.port)
    return {
      reason: 'name_mismatch',
      detail: `the request is for port ${authority.port}, the connection for ${dialled.port}`,
    };
  if (dialled.name !== undefined && authority.host !== dialled.name)
    return {
      reason: 'name_mismatch',
      detail: `the request is for ${formatAuthority(authority)}, the connection for ${dialled.name}`,
    };
  return undefined;
}

/** What one server reads of the first and another of the last. */
const ONLY_ONCE: readonly string[] = ['host', 'content-type'];

/** What neither parser minds. */
function fieldFlaw({ url = '', rawHeaders }: Request): string | undefined {
  const names = rawHeaders.filter((_text, index) => index % 2 === 0).map((name) => name.toLowerCase());
  const repeated = ONLY_ONCE.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
  if (repeated !== undefined) return `there is more than one ${repeated} header`;
  return /^[\x21-\x7e]+$/.test(url) && !url.includes('#')
    ? undefined
    : 'the request target has characters no target may have';
}

/** What llhttp lets through and a server behind us might read in another way. */
function framingFlaw({ httpVersion, headers }: Request): string | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 'only HTTP/1.0 and HTTP/1.1 are spoken here';
  const coding = headers['transfer-encoding'];
  if (coding === undefined) return undefined;
  if (httpVersion === '1.0') return 'HTTP/1.0 has no Transfer-Encoding';
  if (coding.toLowerCase() !== 'chunked') return 'the only Transfer-Encoding spoken here is chunked';
  return headers['content-length'] === undefined
    ? undefined
    : 'there are both Content-Length and Transfer-Encoding';
}

function malformed(detail: string): RequestTarget {
  return { ok: false, status: 400, error: 'malformed_request', detail };
}

function refused(error: string, detail: string): RequestTarget {
  return { ok: false, status: 400, error, detail };
}
