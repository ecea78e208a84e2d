/** Header fields that a proxy passes on (RFC 9110 §7.6.1), as the flat name-value list node:http and node:http2 give. */

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

const VIA = ['Via', '1.1 castellan'];

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

/** A request's fields for the origin. Where the body is here already, nobody has to be asked whether to send it. */
export function requestFields(raw: readonly string[], isBodyHere: boolean): string[] {
  const passed = pairs(endToEndHeaders(raw)).filter(
    ([name]) => !(isBodyHere && name.toLowerCase() === 'expect'),
  );
  return [...joinCookies(passed), ...VIA];
}

/** A response's fields for the client. */
export function responseFields(raw: readonly string[]): string[] {
  return [...endToEndHeaders(raw), ...VIA];
}

/** Trailer fields that may travel on. */
export function trailerPairs(raw: readonly string[]): [string, string][] {
  return pairs(endToEndHeaders(raw)).filter(([name]) => !NOT_IN_TRAILERS.has(name.toLowerCase()));
}

/** A flat list without the pseudo fields of HTTP/2. */
export function withoutPseudo(raw: readonly string[]): string[] {
  return pairs(raw)
    .filter(([name]) => !name.startsWith(':'))
    .flat();
}

/** A flat list as node:http2 takes it: names in lower case, values of one name together. */
export function toHeaderObject(raw: readonly string[]): Record<string, string | string[]> {
  const object: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of pairs(raw)) {
    const key = name.toLowerCase();
    const before = object[key];
    object[key] = before === undefined ? value : [before, value].flat();
  }
  return object;
}

/** RFC 9113 §8.2.3: HTTP/2 may send a cookie field in pieces, HTTP/1 may not. */
function joinCookies(fields: readonly [string, string][]): string[] {
  const cookies = fields.filter(([name]) => name.toLowerCase() === 'cookie');
  if (cookies.length < 2) return fields.flat();
  const joined = ['Cookie', cookies.map(([, value]) => value).join('; ')];
  return [...fields.filter(([name]) => name.toLowerCase() !== 'cookie').flat(), ...joined];
}

function isForwarded(name: string): boolean {
  return !NOT_FORWARDED.has(name) && !name.startsWith('proxy-') && !name.startsWith(':');
}

/** A flat list of names and values, as Node tells fields, by twos. */
export function pairs(raw: readonly string[]): [string, string][] {
  const found: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2)
    found.push([raw[index] as string, raw[index + 1] as string]);
  return found;
}
