/** Header fields that a proxy passes on (RFC 9110 §7.6.1), as the flat name-value list node:http gives and takes. */

/** Of one hop only; with framing and Host, which are written anew. */
const NOT_FORWARDED: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'te',
  'transfer-encoding',
  'upgrade',
]);
/** Fields that must not come after the body: they would change what has been judged or framed. */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  'authorization',
  'cookie',
  'expect',
  'set-cookie',
  'trailer',
  'via',
]);

const VIA = '1.1 castellan';

/** Every field that may travel on. Fields that Connection names are the sender's own, and stay here too. */
export function endToEndHeaders(raw: readonly string[]): string[] {
  const nominated = new Set<string>();
  for (const [name, value] of pairs(raw))
    if (name.toLowerCase() === 'connection')
      for (const token of value.split(',')) nominated.add(token.trim().toLowerCase());
  return pairs(raw)
    .filter(([name]) => isForwarded(name.toLowerCase()) && !nominated.has(name.toLowerCase()))
    .flat();
}

/** A request's header for the origin. `body` is its framing as the parser found it. */
export function requestHeaders(raw: readonly string[], host: string, body: BodyFraming): string[] {
  const passed = endToEndHeaders(raw);
  const fields = body.buffered
    ? pairs(passed)
        .filter(([name]) => name.toLowerCase() !== 'expect')
        .flat()
    : passed;
  return ['Host', host, ...fields, ...framing(body), 'Via', VIA, 'Connection', 'close'];
}

/** A response's header for the client; without a length node:http frames it as the client's version needs. */
export function responseHeaders(raw: readonly string[], body: BodyFraming): string[] {
  const length =
    body.contentLength === undefined || body.chunked ? [] : ['Content-Length', body.contentLength];
  return [...endToEndHeaders(raw), ...length, 'Via', VIA];
}

/** Trailer fields that may travel on. */
export function trailerPairs(raw: readonly string[]): [string, string][] {
  return pairs(endToEndHeaders(raw)).filter(([name]) => !NOT_IN_TRAILERS.has(name.toLowerCase()));
}

export interface BodyFraming {
  readonly chunked: boolean;
  readonly contentLength: string | undefined;
  /** It is here as a whole already: nobody has to be asked whether to send it. */
  readonly buffered?: boolean;
}

function framing({ chunked, contentLength }: BodyFraming): string[] {
  if (chunked) return ['Transfer-Encoding', 'chunked'];
  // A length always: without one node:http would frame an empty POST as chunked.
  return contentLength === undefined ? [] : ['Content-Length', contentLength];
}

function isForwarded(name: string): boolean {
  return !NOT_FORWARDED.has(name) && !name.startsWith('proxy-');
}

function pairs(raw: readonly string[]): [string, string][] {
  const found: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2)
    found.push([raw[index] as string, raw[index + 1] as string]);
  return found;
}
