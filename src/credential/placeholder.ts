/**
 * What stands for a secret in the sandbox. A placeholder is no secret, only the name of one; it is found in a text by the one
 * tokenizer below. Spellings are those of OpenShell:
 *
 *   openshell:resolve:env:NAME              the credential of that name
 *   openshell:resolve:env:v12_NAME          the same, as of a revision: processes keep it over changes of the secret
 *   openshell:resolve:env:s<64 hex>_NAME    the same, by a handle that has to be the credential's own
 *   xoxb-OPENSHELL-RESOLVE-ENV-NAME         for programs that check the form of a token: the whole word stands for the secret
 */

export interface Placeholder {
  readonly name: string;
  /** Hexadecimal; undefined where the placeholder names none. */
  readonly handle: string | undefined;
}

export type Part =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'placeholder'; readonly placeholder: Placeholder }
  /** Looks like a placeholder, and names nothing. */
  | { readonly kind: 'malformed' };

const MARKER = 'openshell:resolve:env:';
const WORD_MARKER = 'OPENSHELL-RESOLVE-ENV-';

/** Of credentials: as names of variables are, and not as the revisions above begin. */
const NAME = /^(?!v[0-9]{1,20}_|s[0-9a-f]{64}_)[A-Za-z_][A-Za-z0-9_]{0,127}$/;
/** The revision is told by nothing but its form: the secret in force is meant. */
const KEY = /^(?:v[0-9]{1,20}_|s(?<handle>[0-9a-f]{64})_)?(?<name>[A-Za-z_][A-Za-z0-9_]{0,127})$/;

/** A word placeholder is taken with everything that belongs to its word, or half of it would stay. */
const TOKEN = new RegExp(`${MARKER}(?<key>\\w*)|[\\w.~-]*?${WORD_MARKER}(?<word>[\\w.~-]*)`, 'g');
/** Both, in any case. */
const MENTION = /openshell:resolve:env:|openshell-resolve-env-/i;
/** Deeper encodings are undone by no server. */
const MAX_DECODINGS = 3;

/** Whether a credential may have the name. */
export function isCredentialName(name: string): boolean {
  return NAME.test(name);
}

/** What a process is given in the place of the secret; `prefix` is for programs that check how a token begins. */
export function placeholderOf(name: string, prefix?: string): string {
  return prefix === undefined ? `${MARKER}${name}` : `${prefix}${WORD_MARKER}${name}`;
}

/** The text, cut where placeholders are. A text without any is one part. */
export function splitPlaceholders(text: string): readonly Part[] {
  if (!text.includes(MARKER) && !text.includes(WORD_MARKER)) return [{ kind: 'text', text }];
  const parts: Part[] = [];
  let end = 0;
  for (const { 0: token, index, groups } of text.matchAll(TOKEN)) {
    if (index > end) parts.push({ kind: 'text', text: text.slice(end, index) });
    parts.push(readKey(groups?.['key'] ?? groups?.['word'] ?? ''));
    end = index + token.length;
  }
  if (end < text.length) parts.push({ kind: 'text', text: text.slice(end) });
  return parts;
}

/** Whether a placeholder, however spelled, is in the text: also in another case, or encoded as in URLs. */
export function mentionsPlaceholder(text: string): boolean {
  if (MENTION.test(text)) return true;
  let decoded = text;
  for (let count = 0; count < MAX_DECODINGS && decoded.includes('%'); count++) {
    decoded = decodeAscii(decoded);
    if (MENTION.test(decoded)) return true;
  }
  return false;
}

function readKey(key: string): Part {
  const groups = KEY.exec(key)?.groups;
  if (groups === undefined) return { kind: 'malformed' };
  return { kind: 'placeholder', placeholder: { name: groups['name'] ?? '', handle: groups['handle'] } };
}

/** Markers are ASCII: what else is encoded may stay so. */
function decodeAscii(text: string): string {
  return text.replaceAll(/%([0-7][0-9a-f])/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
