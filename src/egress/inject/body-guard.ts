/**
 * Looks for placeholders in a stream of bytes. What could be the beginning of one is held back, and nothing else, so that
 * clients who wait for an answer before they go on are not kept waiting.
 */
import { Transform, type TransformCallback } from 'node:stream';

/** Both markers begin with it, in one case or the other; the rest may be encoded as in forms or in JSON. */
const BEGINNINGS = ['openshell', 'OPENSHELL'].map((word) => Buffer.from(word));
const BEGINNING_LENGTH = 9;
const COLON = '(?::|%3[Aa]|\\\\u003[Aa])';
const CANONICAL = `openshell${COLON}resolve${COLON}env${COLON}(?:v\\d{1,20}_|s[0-9a-f]{64}_)?`;
const TOKEN = new RegExp(
  `^(?:${CANONICAL}|OPENSHELL-RESOLVE-ENV-(?:v\\d{1,20}_|s[0-9a-f]{64}_)?)(\\w{1,129})`,
);
/** Of the longest: the markers with every colon written as `\u003a`, a handle, a name and what ends it. */
const MAX_TOKEN = 256;
/** What may follow the first word. */
const SEPARATOR = /^[:%\\-]/;

/** The name in a placeholder that begins at the place; undefined where none does, or where `more` could belong to it. */
function nameAt(bytes: Buffer, place: number, more: boolean): string | undefined {
  const [token, name] = TOKEN.exec(bytes.toString('latin1', place, place + MAX_TOKEN)) ?? [''];
  return more && place + token.length === bytes.length ? undefined : name;
}

/** Where a placeholder could begin. Each word is looked for once over all the bytes, whatever an agent repeats in them. */
function* beginningsIn(bytes: Buffer): Generator<number> {
  for (const word of BEGINNINGS)
    for (let place = bytes.indexOf(word); place >= 0; place = bytes.indexOf(word, place + 1)) yield place;
}

/** The first credential whose placeholder is in the bytes. */
export function findPlaceholder(
  bytes: Buffer,
  isKnown: (name: string) => boolean,
  more = false,
): string | undefined {
  for (const place of beginningsIn(bytes)) {
    const name = nameAt(bytes, place, more);
    if (name !== undefined && isKnown(name)) return name;
  }
  return undefined;
}

/** Where what has to wait for more begins; the length where nothing has to. */
function heldFrom(bytes: Buffer): number {
  // A token that begins before has been looked at whole.
  const start = Math.max(0, bytes.length - MAX_TOKEN);
  const open = [...beginningsIn(bytes.subarray(start))].filter((place) => {
    const next = start + place + BEGINNING_LENGTH;
    const after = bytes.toString('latin1', next, next + 1);
    return after === '' || SEPARATOR.test(after);
  });
  if (open.length > 0) return start + Math.min(...open);
  for (let length = Math.min(BEGINNING_LENGTH - 1, bytes.length); length > 0; length--) {
    const end = bytes.subarray(bytes.length - length);
    if (BEGINNINGS.some((word) => word.subarray(0, length).equals(end))) return bytes.length - length;
  }
  return bytes.length;
}

/** Passes bytes on, and breaks with what `flaw` says where a placeholder of a known credential comes. */
export function createBodyGuard(
  isKnown: (name: string) => boolean,
  flaw: (name: string) => string,
): Transform {
  let held: Buffer = Buffer.alloc(0);
  const look = (bytes: Buffer, done: TransformCallback, pass: number): void => {
    const name = findPlaceholder(bytes, isKnown, pass < bytes.length);
    if (name !== undefined) return void done(new Error(flaw(name)));
    held = bytes.subarray(pass);
    done(null, pass === 0 ? undefined : bytes.subarray(0, pass));
  };
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      look(bytes, done, heldFrom(bytes));
    },
    flush(done) {
      look(held, done, held.length);
    },
  });
}
