/** Secrets in the place of placeholders, each written as its part of a request wants it. Pure. */
import type { Place } from './credential.ts';
import { mentionsPlaceholder, type Placeholder, splitPlaceholders } from './placeholder.ts';

/** Gives the secret. @throws SubstitutionError where it may not be had */
export type Resolve = (placeholder: Placeholder, place: Place) => string;

/** Why a request with placeholders does not go on. */
export class SubstitutionError extends Error {
  /** `unavailable`: there is nothing to put in its place; `unbound`: it may not go there. */
  readonly problem: 'unavailable' | 'unbound';

  constructor(problem: SubstitutionError['problem'], message: string) {
    super(message);
    this.problem = problem;
  }
}

type Encode = (secret: string) => string;

/** RFC 9110 §5.5, as latin1: what else cannot be sent in a field. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Of RFC 7617; some clients leave the padding out, or use the alphabet of URLs. */
const BASIC = /^(?<scheme>basic +)(?<token>[A-Za-z0-9+/_-]+={0,2})\s*$/i;

/** A flat list of header fields with its values rewritten; the list itself where nothing is to be done. */
export function substituteFields(fields: readonly string[], resolve: Resolve): readonly string[] {
  let changed = false;
  const rewritten = fields.map((text, index) => {
    const name = (index % 2 === 0 ? text : (fields[index - 1] ?? '')).toLowerCase();
    if (index % 2 === 0) {
      if (mentionsPlaceholder(text)) throw malformed('the name of a header');
      return text;
    }
    const value = substituteField(name, text, resolve);
    changed ||= value !== text;
    return value;
  });
  return changed ? rewritten : fields;
}

function substituteField(name: string, value: string, resolve: Resolve): string {
  const place = `header:${name}` as const;
  const basic = BASIC.exec(value)?.groups;
  if (basic !== undefined) {
    // Byte by byte: which characters they are is between the client and its server.
    const decoded = Buffer.from(basic['token'] ?? '', 'base64').toString('latin1');
    const bytesOf = (secret: string): string => Buffer.from(secret).toString('latin1');
    const rewritten = substitute(decoded, place, resolve, bytesOf);
    return rewritten === decoded
      ? value
      : `${basic['scheme']}${Buffer.from(rewritten, 'latin1').toString('base64')}`;
  }
  return substitute(value, place, resolve, (secret) => {
    if (!FIELD_VALUE.test(secret))
      throw new SubstitutionError('unavailable', 'the secret has characters that no header may have');
    return secret;
  });
}

/** The target with its path segments and query values rewritten. */
export function substituteTarget(target: string, resolve: Resolve): string {
  if (!mentionsPlaceholder(target)) return target;
  return mapTarget(target, {
    path: (segment) => substitute(decodeUrl(segment), 'path', resolve, pathSecret, restOf(segment)),
    query: (value) => substitute(decodeForm(value), 'query', resolve, encodeStrict, encodeStrict),
    key() {
      throw malformed('the name of a query parameter');
    },
  });
}

/** The target as the policy and the records see it: with `shown` in the place of each placeholder. */
export function concealTarget(target: string, shown: string): string {
  if (!mentionsPlaceholder(target)) return target;
  const conceal = (text: string, encode: Encode): string =>
    splitPlaceholders(text)
      .map((part) => (part.kind === 'text' ? encode(part.text) : shown))
      .join('');
  return mapTarget(target, {
    path: (segment) => conceal(decodeUrl(segment), restOf(segment)),
    query: (value) => conceal(decodeForm(value), encodeStrict),
    key: () => shown,
  });
}

/** Text of a message or a body, as it is; JSON where it has to be escaped. */
export function substituteText(text: string, isJson: boolean, place: Place, resolve: Resolve): string {
  return substitute(text, place, resolve, isJson ? jsonSecret : (secret) => secret, (rest) => rest, true);
}

/** A body of the type application/x-www-form-urlencoded: its values are rewritten. */
export function substituteForm(body: string, resolve: Resolve): string {
  return mapPairs(body, {
    query: (value) => substitute(decodeForm(value), 'body', resolve, encodeStrict, encodeStrict),
    key() {
      throw malformed('the name of a form field');
    },
  });
}

/**
 * @param encodeRest writes what stands beside placeholders; it was decoded before
 * @param lenient other mentions of placeholders are left alone: a body is not the place to guess
 */
function substitute(
  text: string,
  place: Place,
  resolve: Resolve,
  encode: Encode,
  encodeRest: Encode = (rest) => rest,
  lenient = false,
): string {
  return splitPlaceholders(text)
    .map((part) => {
      if (part.kind === 'placeholder') return encode(resolve(part.placeholder, place));
      if (part.kind === 'malformed' || (!lenient && mentionsPlaceholder(part.text))) throw malformed('it');
      return encodeRest(part.text);
    })
    .join('');
}

interface TargetParts {
  readonly path: (segment: string) => string;
  readonly query: (value: string) => string;
  readonly key: (key: string) => string;
}

/** Parts that mention no placeholder stay as they came. */
function mapTarget(target: string, parts: TargetParts): string {
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const mapped = path
    .split('/')
    .map((segment) => (mentionsPlaceholder(segment) ? parts.path(segment) : segment))
    .join('/');
  return mark < 0 ? mapped : `${mapped}?${mapPairs(target.slice(mark + 1), parts)}`;
}

function mapPairs(text: string, { query, key }: Pick<TargetParts, 'query' | 'key'>): string {
  if (!mentionsPlaceholder(text)) return text;
  return text
    .split('&')
    .map((pair) => {
      const equals = pair.indexOf('=');
      const name = equals < 0 ? pair : pair.slice(0, equals);
      const value = equals < 0 ? '' : pair.slice(equals + 1);
      const kept = mentionsPlaceholder(name) ? key(name) : name;
      if (equals < 0) return kept;
      return `${kept}=${mentionsPlaceholder(value) ? query(value) : value}`;
    })
    .join('&');
}

/** What a secret may not hold to stay one segment, for every server that decodes a path once or twice. */
const UNSAFE_IN_PATH = /[/\\%;?#]|^\.{1,2}$/;

function pathSecret(secret: string): string {
  if (UNSAFE_IN_PATH.test(secret))
    throw new SubstitutionError(
      'unavailable',
      'the secret would change the meaning of the path it stands in',
    );
  return encodeSegment(secret);
}

/** RFC 3986 §3.3: what a segment may hold besides; clients write `:` and `@` as they are, and some servers want them so. */
function encodeSegment(text: string): string {
  return encodeStrict(text).replaceAll(/%(?:21|24|26|27|28|29|2A|2B|2C|3A|3D|40|5B|5D)/g, (byte) =>
    decodeURIComponent(byte),
  );
}

/** RFC 3986 §2.3: everything but the unreserved characters. */
export function encodeStrict(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** What stands beside a placeholder in a segment, as it was: `;` begins parameters for some servers, and `%3B` does not. */
function restOf(segment: string): Encode {
  const hasParameters = segment.includes(';') && !/%3b/i.test(segment);
  return (text) => (hasParameters ? encodeSegment(text).replaceAll('%3B', ';') : encodeSegment(text));
}

function jsonSecret(secret: string): string {
  return JSON.stringify(secret).slice(1, -1);
}

function decodeForm(text: string): string {
  return decodeUrl(text.replaceAll('+', ' '));
}

function decodeUrl(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new SubstitutionError(
      'unavailable',
      'a placeholder stands beside encoded bytes that are not UTF-8',
    );
  }
}

function malformed(where: string): SubstitutionError {
  return new SubstitutionError(
    'unavailable',
    where === 'it' ? 'a placeholder is malformed' : `${where} is no place for a placeholder`,
  );
}
