/** RFC 1035 §2.3.4, less the root: what fits into 255 octets on the wire. */
const MAX_NAME_LENGTH = 253;
const MAX_LABEL_LENGTH = 63;

/**
 * A DNS host name in its one form: lower case, ASCII, no trailing dot, labels of letters, digits, `-` and `_`.
 * Undefined for anything else, also for names that end in a number: resolvers read `127.1` and `0x7f000001` as addresses
 * (inet_aton(3); the URL standard's "ends in a number" check).
 */
export function parseHostName(text: string): string | undefined {
  // Before lower-casing: some letters outside ASCII, such as the Kelvin sign, have lower-case forms inside it.
  if (text.length > MAX_NAME_LENGTH || !/^[A-Za-z0-9_.-]+$/.test(text)) return undefined;
  const name = text.toLowerCase();
  const labels = name.split('.');
  if (labels.some((label) => label === '' || label.length > MAX_LABEL_LENGTH)) return undefined;
  return endsInNumber(labels) ? undefined : name;
}

function endsInNumber(labels: readonly string[]): boolean {
  return /^(?:[0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '');
}
