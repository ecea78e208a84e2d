/**
 * Values as YAML that every reader takes for the same: texts are quoted unless they are plain words in YAML 1.1 and 1.2 alike (`no`,
 * `1e3`, `0x1F` and `1_000` are not), and numbers are whole and written out, so that no template makes 1.00068e+09 of a uid.
 */

export type Document = Readonly<Record<string, unknown>>;

/** Documents one after the other; `comments` come first, a line each. Keys without a value are left out. */
export function renderYaml(documents: readonly Document[], comments: readonly string[] = []): string {
  const head = comments.map((line) => `# ${line.replaceAll(/\p{Cc}/gu, ' ')}\n`).join('');
  return head + documents.map((document) => block(document, '')).join('---\n');
}

function block(value: unknown, indent: string): string {
  if (Array.isArray(value)) return value.map((item) => `${indent}- ${itemText(item, indent)}`).join('');
  return entriesOf(value)
    .map(([key, child]) => `${indent}${scalar(key)}:${after(child, indent)}`)
    .join('');
}

/** An item whose first line stands behind the dash. */
function itemText(value: unknown, indent: string): string {
  if (isFilled(value)) return block(value, `${indent}  `).slice(indent.length + 2);
  return `${inline(value)}\n`;
}

/** What follows a key. Kubernetes writes lists at the level of their key, and so does this. */
function after(value: unknown, indent: string): string {
  if (isFilled(value)) return `\n${block(value, Array.isArray(value) ? indent : `${indent}  `)}`;
  if (typeof value === 'string' && isBlockText(value)) return ` |\n${lines(value, `${indent}  `)}`;
  return ` ${inline(value)}\n`;
}

function isFilled(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  return typeof value === 'object' && value !== null && entriesOf(value).length > 0;
}

function entriesOf(value: unknown): [string, unknown][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).filter(([, child]) => child !== undefined);
}

function inline(value: unknown): string {
  if (Array.isArray(value)) return '[]';
  if (typeof value === 'string') return scalar(value);
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value.toFixed(0);
  if (typeof value === 'object' && value !== null) return '{}';
  throw new TypeError(`a manifest has no place for ${String(value)}`);
}

/** Words, paths, images and options. */
const PLAIN = /^(--?[a-z]|[A-Za-z/])[A-Za-z0-9_./@-]*(:[A-Za-z0-9_./@-]+)*$/;

function scalar(text: string): string {
  if (PLAIN.test(text) && !isMeaningful(text)) return text;
  return JSON.stringify(text).replaceAll(
    /[\u007f-\u009f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Words that some reader takes for something else than a text. */
function isMeaningful(text: string): boolean {
  return /^(y|n|yes|no|on|off|true|false|null|nan|inf)$/i.test(text);
}

/** Texts of more than one line that a block gives back unchanged: printable, no leading blank, one line end at the end. */
function isBlockText(text: string): boolean {
  return /^[\t\n\x20-\x7e]*$/.test(text) && /^\S/.test(text) && /\n[\t\x20-\x7e\n]*[^\n]\n$/.test(text);
}

function lines(text: string, indent: string): string {
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => (line === '' ? '\n' : `${indent}${line}\n`))
    .join('');
}
