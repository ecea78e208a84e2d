/**
 * A command line as a person would type it, without what people should not have typed. Only the usual forms are known:
 * a secret that looks like nothing cannot be told from other words.
 */

const REDACTED = '[redacted]';

const SECRET_WORD =
  'pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|bearer|cookie';

/** Its value is the next argument, e.g. `--api-token VALUE`. */
const SECRET_OPTION = new RegExp(`^--?[\\w.-]{0,64}?(?:${SECRET_WORD})[\\w.-]{0,64}$`, 'i');
/** `user:password` follows, for curl and its like. */
const USER_OPTION = /^(?:-u|-U|--user|--proxy-user)$/;

/** None can be made slow: every run of characters is bounded, or ends where the next part begins. */
const FORMS: readonly (readonly [form: RegExp, replacement: string])[] = [
  // Userinfo of a URL, up to the last @ before the path.
  [/([a-z][a-z0-9+.-]{0,31}:\/\/)[^\s/?#'"]{1,4096}@/gi, `$1${REDACTED}@`],
  // Query and fragment of a URL.
  [/([a-z][a-z0-9+.-]{0,31}:\/\/[^\s?#'"]{1,4096})[?#][^\s'"]*/gi, '$1?…'],
  // Header fields.
  [
    /\b((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]{0,32}(?:key|token|secret))(\s{0,8}:\s{0,8})[^'"\r\n]+/gi,
    `$1$2${REDACTED}`,
  ],
  // NAME=value, --option=value, "name": value.
  [
    new RegExp(
      `([\\w.-]{0,64}(?:${SECRET_WORD})[\\w.-]{0,64}["']?\\s{0,8}[=:]\\s{0,8})("[^"]*"|'[^']*'|[^\\s'"&;,]+)`,
      'gi',
    ),
    `$1${REDACTED}`,
  ],
  // --option value, inside a script.
  [
    new RegExp(
      `(--[\\w.-]{0,64}(?:${SECRET_WORD})[\\w.-]{0,64}\\s{1,8})("[^"]*"|'[^']*'|[^\\s'"-][^\\s'"]*)`,
      'gi',
    ),
    `$1${REDACTED}`,
  ],
  // Tokens that say what they are: of GitHub, GitLab, Slack, AWS, OpenAI, Anthropic and Stripe, and JSON web tokens.
  [
    /\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|sk_live_)[\w-]{16,512}|\bA(?:KIA|SIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,4096}\.[\w-]{8,8192}\.[\w-]{0,4096}/g,
    REDACTED,
  ],
  [/-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[\s\S]*/g, REDACTED],
];

/** Recorded texts are cut far below these; what lies behind need not be looked at. */
const MAX_TEXT = 16_384;
const MAX_LINE = 8192;

/** Free text without what looks like a credential. */
export function redactText(text: string): string {
  return FORMS.reduce(
    (clean, [form, replacement]) => clean.replace(form, replacement),
    text.slice(0, MAX_TEXT),
  );
}

/** Joins argv with shell quoting; values that look like credentials, user info in URLs, and query strings are left out. */
export function commandLine(argv: readonly string[]): string {
  const words: string[] = [];
  let length = 0;
  for (const [index, argument] of argv.entries()) {
    if (length > MAX_LINE) break;
    const word = quote(redactArgument(argument, argv[index - 1] ?? ''));
    words.push(word);
    length += word.length + 1;
  }
  return words.join(' ');
}

function redactArgument(argument: string, previous: string): string {
  if (SECRET_OPTION.test(previous)) return REDACTED;
  const colon = argument.indexOf(':');
  if (USER_OPTION.test(previous) && colon >= 0) return `${argument.slice(0, colon)}:${REDACTED}`;
  return redactText(argument);
}

function quote(argument: string): string {
  return /^[\w@%+=:,./[\]?\u2026-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}
