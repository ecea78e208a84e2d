/**
 * Takes credentials out of text that is about to be recorded. It knows the usual forms only: secrets that look like
 * nothing cannot be told from other words.
 */

const HIDDEN = '[redacted]';

const SECRET_WORD =
  'pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|bearer|cookie';

/** An option whose value is the next argument, e.g. `--api-token VALUE`. */
const SECRET_OPTION = new RegExp(`^--?[\\w.-]{0,64}?(?:${SECRET_WORD})[\\w.-]{0,64}$`, 'i');
/** `user:password` follows: curl, wget, http clients. */
const USER_OPTION = /^(?:-u|-U|--user|--proxy-user)$/;

/** Every pattern is linear: each run of characters is bounded, or ends where the next part begins. */
const FORMS: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  // Userinfo of a URL, up to the last @ before the path.
  [/([a-z][a-z0-9+.-]{0,31}:\/\/)[^\s/?#'"]{1,4096}@/gi, `$1${HIDDEN}@`],
  // Query and fragment of a URL.
  [/([a-z][a-z0-9+.-]{0,31}:\/\/[^\s?#'"]{1,4096})[?#][^\s'"]*/gi, `$1?${HIDDEN}`],
  // Header fields.
  [/\b((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]{0,32}(?:key|token|secret))(\s{0,8}:\s{0,8})[^'"\r\n]+/gi, `$1$2${HIDDEN}`],
  // NAME=value, --option=value, "name": value.
  [new RegExp(`([\\w.-]{0,64}(?:${SECRET_WORD})[\\w.-]{0,64}["']?\\s{0,8}[=:]\\s{0,8})("[^"]*"|'[^']*'|[^\\s'"&;,]+)`, 'gi'), `$1${HIDDEN}`],
  // --option value, inside a script.
  [new RegExp(`(--[\\w.-]{0,64}(?:${SECRET_WORD})[\\w.-]{0,64}\\s{1,8})("[^"]*"|'[^']*'|[^\\s'"-][^\\s'"]*)`, 'gi'), `$1${HIDDEN}`],
  // Tokens that say what they are: GitHub, GitLab, Slack, AWS, OpenAI and Anthropic, JSON web tokens.
  [/\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|sk_live_)[\w-]{16,512}|\bA(?:KIA|SIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,4096}\.[\w-]{8,8192}\.[\w-]{0,4096}/g, HIDDEN],
  [/-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^]*/g, HIDDEN],
];

/** More than the cap of any recorded text: what lies behind is cut there anyway. */
const MAX_COMMAND_LINE = 8192;

/** Free text without what looks like a credential. */
export function redactText(text: string): string {
  return FORMS.reduce((clean, [pattern, replacement]) => clean.replace(pattern, replacement), text);
}

/** argv as one line that a shell would read back, without credentials. */
export function commandLine(argv: readonly string[]): string {
  const words: string[] = [];
  let length = 0;
  for (const [index, argument] of argv.entries()) {
    if (length > MAX_COMMAND_LINE) break;
    const word = shellQuote(redactArgument(argument, argv[index - 1]));
    words.push(word);
    length += word.length + 1;
  }
  return words.join(' ');
}

function redactArgument(argument: string, previous: string | undefined): string {
  if (previous !== undefined && SECRET_OPTION.test(previous)) return HIDDEN;
  const colon = argument.indexOf(':');
  if (previous !== undefined && USER_OPTION.test(previous) && colon >= 0)
    return `${argument.slice(0, colon)}:${HIDDEN}`;
  return redactText(argument);
}

function shellQuote(word: string): string {
  if (/^[\w@%+=:,./[\]-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}
