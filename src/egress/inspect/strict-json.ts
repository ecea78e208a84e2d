/**
 * JSON as every reader reads it: RFC 8259 in UTF-8 without a byte order mark, and no key twice in one object, of which some
 * readers take the first and others the last.
 */

export type StrictJson =
  | {
      readonly ok: true;
      readonly value: unknown;
      /** The members of the outermost object as they are written, key and all: whoever exchanges some leaves the rest untouched. */
      readonly members: ReadonlyMap<string, string>;
    }
  | { readonly ok: false; readonly detail: string };

/** Deeper nesting has no use in a request, and costs stack. */
const MAX_DEPTH = 128;

/** Never throws. Objects have no prototype. */
export function parseStrictJson(bytes: Uint8Array): StrictJson {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { ok: false, detail: 'the body is not UTF-8' };
  }
  try {
    // First by Node's own parser: what it takes is JSON, so that the reader below only has to find its way.
    JSON.parse(text);
  } catch {
    return { ok: false, detail: 'the body is not JSON' };
  }
  try {
    const reader = new Reader(text);
    return { ok: true, value: reader.value(0), members: reader.members };
  } catch (error) {
    if (error instanceof NotStrict) return { ok: false, detail: error.message };
    throw error;
  }
}

class NotStrict extends Error {}

/** Walks over text that is known to be JSON. */
class Reader {
  readonly #text: string;
  #at = 0;
  readonly members = new Map<string, string>();

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw new NotStrict(`the body is nested deeper than ${MAX_DEPTH} levels`);
    this.#skip();
    const first = this.#text[this.#at];
    if (first === '{') return this.#object(depth);
    if (first === '[') return this.#array(depth);
    if (first === '"') return JSON.parse(this.#string());
    const word = literal(this.#word());
    // For some readers infinite, for others an error.
    if (word === Number.POSITIVE_INFINITY || word === Number.NEGATIVE_INFINITY)
      throw new NotStrict('the body has a number that is too large');
    return word;
  }

  #object(depth: number): object {
    const members: Record<string, unknown> = Object.create(null);
    for (let next = this.#enter('}'); next; next = this.#next()) {
      this.#skip();
      const start = this.#at;
      const key: string = JSON.parse(this.#string());
      if (Object.hasOwn(members, key)) throw new NotStrict('the body has the same key twice in one object');
      this.#skip();
      this.#at += 1; // the colon
      members[key] = this.value(depth + 1);
      if (depth === 0) this.members.set(key, this.#text.slice(start, this.#at));
    }
    return members;
  }

  #array(depth: number): unknown[] {
    const items: unknown[] = [];
    for (let next = this.#enter(']'); next; next = this.#next()) items.push(this.value(depth + 1));
    return items;
  }

  /** Past the opening bracket; false, and past the closing one, where nothing is inside. */
  #enter(closing: string): boolean {
    this.#at += 1;
    this.#skip();
    if (this.#text[this.#at] !== closing) return true;
    this.#at += 1;
    return false;
  }

  /** Past a comma, or past the closing bracket. */
  #next(): boolean {
    this.#skip();
    this.#at += 1;
    return this.#text[this.#at - 1] === ',';
  }

  #string(): string {
    const start = this.#at;
    this.#at += 1;
    while (this.#text[this.#at] !== '"') this.#at += this.#text[this.#at] === '\\' ? 2 : 1;
    this.#at += 1;
    return this.#text.slice(start, this.#at);
  }

  #word(): string {
    const start = this.#at;
    while (isLiteral(this.#text.charCodeAt(this.#at))) this.#at += 1;
    return this.#text.slice(start, this.#at);
  }

  #skip(): void {
    while (isBlank(this.#text.charCodeAt(this.#at))) this.#at += 1;
  }
}

/** Code units instead of patterns: a body may be ten million of them, and everybody waits. NaN, behind the end, is neither. */
function isBlank(unit: number): boolean {
  return unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09;
}

/** Of numbers and words: behind one stands a blank, a comma or a bracket. */
function isLiteral(unit: number): boolean {
  return unit > 0x20 && unit !== 0x2c && unit !== 0x5d && unit !== 0x7d;
}

function literal(word: string): unknown {
  if (word === 'true' || word === 'false') return word === 'true';
  return word === 'null' ? null : Number(word);
}
