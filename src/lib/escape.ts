/**
 * Text that an agent may have chosen, made safe for a terminal or a log line: control characters, line
 * separators, bidirectional overrides and lone surrogates become `\u{…}`, so that no name can start a new line or recolour it.
 */
export function escapeText(text: string, maxLength = 512): string {
  let escaped = '';
  for (const character of text) {
    if (escaped.length >= maxLength) return `${escaped}…`;
    const point = character.codePointAt(0) ?? 0;
    escaped += isUnsafe(point) ? `\\u{${point.toString(16)}}` : character;
  }
  return escaped;
}

function isUnsafe(point: number): boolean {
  return (
    point < 0x20 ||
    (point >= 0x7f && point <= 0x9f) ||
    point === 0x061c ||
    (point >= 0x200b && point <= 0x200f) ||
    (point >= 0x2028 && point <= 0x202e) ||
    (point >= 0x2060 && point <= 0x2069) ||
    point === 0xfeff ||
    (point >= 0xfff9 && point <= 0xfffb) ||
    (point >= 0xd800 && point <= 0xdfff) ||
    (point >= 0xe0000 && point <= 0xe007f)
  );
}
