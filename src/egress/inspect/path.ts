/**
 * A request target in the one form it is sent on in, with every way a server may read its path. Where servers differ in ways
 * that matter (encoded slashes, dot segments behind parameters, decoding twice), the target is refused.
 */
import type { PathReadings } from '../../policy/request.ts';

export type ReadTarget =
  | {
      readonly ok: true;
      /** Path and query for the origin: dot segments resolved, unreserved characters decoded, nothing else changed. */
      readonly forward: string;
      /** In the path. */
      readonly hasEncodedSlash: boolean;
      readonly path: PathReadings;
      readonly query: readonly (readonly [key: string, value: string])[];
    }
  | { readonly ok: false; readonly detail: string };

export interface TargetOptions {
  /** Takes encoded slashes as characters of their segment. */
  readonly encodedSlash: boolean;
}

/** Each pattern is compared with it, in every reading. */
const MAX_PATH_LENGTH = 4096;
/** Applications set limits of about a thousand; each pair is compared with each rule. */
const MAX_QUERY_PAIRS = 1000;

class Unreadable extends Error {}

/** Reads an origin-form target (RFC 9112 §3.2.1) by RFC 3986. */
export function readTarget(target: string, { encodedSlash }: TargetOptions): ReadTarget {
  try {
    if (!/^\/[\x21-\x7e]*$/.test(target) || /[#\\]/.test(target))
      throw new Unreadable('the target has characters that no path or query may have');
    const mark = target.indexOf('?');
    const rawPath = mark < 0 ? target : target.slice(0, mark);
    if (rawPath.length > MAX_PATH_LENGTH)
      throw new Unreadable(`the path is longer than ${MAX_PATH_LENGTH} bytes`);
    const rawQuery = mark < 0 ? undefined : target.slice(mark + 1);
    const segments = resolveDots(
      rawPath
        .slice(1)
        .split('/')
        .map((segment) => normalise(segment, encodedSlash)),
    );
    const forward = `/${segments.join('/')}`;
    return {
      ok: true,
      forward: rawQuery === undefined ? forward : `${forward}?${rawQuery}`,
      hasEncodedSlash: forward.includes('%2F'),
      path: readingsOf(segments),
      query: rawQuery === undefined ? [] : readQuery(rawQuery),
    };
  } catch (error) {
    if (error instanceof Unreadable) return { ok: false, detail: error.message };
    throw error;
  }
}

/** RFC 3986 §6.2.2: unreserved characters stand for themselves, hexadecimal digits are upper case. */
function normalise(segment: string, encodedSlash: boolean): string {
  const text = segment.replaceAll(/%(?<hex>.{0,2})/gs, (_, hex: string) => {
    if (!/^[0-9A-Fa-f]{2}$/.test(hex)) throw new Unreadable('the path has a "%" that begins no encoded byte');
    const code = Number.parseInt(hex, 16);
    const character = String.fromCharCode(code);
    if (/[A-Za-z0-9._~-]/.test(character)) return character;
    if (code < 0x20 || code === 0x7f) throw new Unreadable('the path has an encoded control character');
    if (character === '\\') throw new Unreadable('the path has an encoded backslash');
    if (character === '/' && !encodedSlash)
      throw new Unreadable('the path has an encoded slash, which takes allow_encoded_slash');
    return `%${hex.toUpperCase()}`;
  });
  const once = decode(text);
  if (once.includes('/') && once.split('/').some((part) => /^\.{1,2}(?:;|$)/.test(part)))
    throw new Unreadable('the path has a dot segment between encoded slashes');
  const twice = decode(once.replaceAll(/%(?![0-9A-Fa-f]{2})/g, '%25'));
  if (twice !== once && /^\.{1,2}$|[/\\]/.test(twice))
    throw new Unreadable('the path would be another one if it were decoded twice');
  const bare = withoutParameters(text);
  if (bare !== text && /^\.{1,2}$/.test(bare))
    throw new Unreadable('the path has parameters behind a dot segment');
  return text;
}

/** §5.2.4, and no way above the root. */
function resolveDots(segments: readonly string[]): string[] {
  const resolved: string[] = [];
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (segment === '..') {
      if (resolved.pop() === undefined) throw new Unreadable('the path climbs above its root');
      if (isLast) resolved.push('');
    } else if (segment !== '.') resolved.push(segment);
    else if (isLast) resolved.push('');
  }
  return resolved;
}

/** `;` begins parameters for some servers, and repeated slashes are one for others. */
function readingsOf(segments: readonly string[]): PathReadings {
  const plain = segments.map(withoutParameters);
  const encoded = [segments, collapsed(segments), plain, collapsed(plain)].map(
    (each) => `/${each.join('/')}`,
  );
  const allow = unique(encoded.map((path) => decode(path, KEPT_SLASH)));
  const decoded = encoded.map((path) => decode(path));
  // Encoded slashes too may be one after another.
  return {
    allow,
    deny: unique([...allow, ...decoded, ...decoded.map((path) => path.replaceAll(/\/{2,}/g, '/'))]),
  };
}

/** An encoded slash that stays one is three characters, so that a `*` matches it. */
const KEPT_SLASH = /%2F/g;

function collapsed(segments: readonly string[]): string[] {
  return segments.filter((segment, index) => segment !== '' || index === segments.length - 1);
}

function withoutParameters(segment: string): string {
  return segment.replace(/;.*$/s, '');
}

function decode(text: string, kept?: RegExp): string {
  const source = kept === undefined ? text : text.replaceAll(kept, '%252F');
  try {
    return decodeURIComponent(source);
  } catch {
    throw new Unreadable('the path or query has encoded bytes that are not UTF-8');
  }
}

/** As forms are encoded: `+` is a space. */
function readQuery(raw: string): [string, string][] {
  const pairs = raw.split('&').filter((pair) => pair !== '');
  if (pairs.length > MAX_QUERY_PAIRS)
    throw new Unreadable(`the query has more than ${MAX_QUERY_PAIRS} parameters`);
  return pairs.map((pair) => {
    const equals = pair.indexOf('=');
    const [key, value] = equals < 0 ? [pair, ''] : [pair.slice(0, equals), pair.slice(equals + 1)];
    return [decodeForm(key), decodeForm(value)];
  });
}

function decodeForm(text: string): string {
  if (/%(?![0-9A-Fa-f]{2})/.test(text))
    throw new Unreadable('the query has a "%" that begins no encoded byte');
  return decode(text.replaceAll('+', ' '));
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}
