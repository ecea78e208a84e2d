/** The glob dialect as its description reads, by way of regular expressions: a second opinion for short texts. */
import type { GlobDialect } from '../../src/policy/match/glob.ts';

/** For a pattern that the parser takes. */
export function naiveGlob(pattern: string, { delimiter }: GlobDialect): RegExp {
  const one = delimiter === undefined ? '[^]' : `[^\\${delimiter}]`;
  const characters = [...pattern];
  let source = '';
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? '';
    const isDouble = character === '*' && characters[at + 1] === '*';
    if (
      isDouble &&
      delimiter !== undefined &&
      characters[at - 1] === delimiter &&
      characters[at + 2] === delimiter
    ) {
      source += `(?:[^]*\\${delimiter})?`;
      at += 2;
    } else if (isDouble) {
      source += '[^]*';
      at += 1;
    } else if (character === '*') source += `${one}*`;
    else if (character === '?') source += one;
    else if (character === '{') source += '(?:';
    else if (character === '}') source += ')';
    else if (character === ',') source += isInBraces(characters, at) ? '|' : ',';
    else if (character === '\\') source += quoted(characters[++at] ?? '');
    else if (character === '[') {
      const end = classEnd(characters, at);
      source += characterClass(characters.slice(at + 1, end), delimiter);
      at = end;
    } else source += quoted(character);
  }
  return new RegExp(`^${source}$`, 'u');
}

function quoted(character: string): string {
  return `\\u{${character.codePointAt(0)?.toString(16)}}`;
}

function classEnd(characters: readonly string[], start: number): number {
  let at = start + 1;
  if (characters[at] === '!' || characters[at] === '^') at += 1;
  while (characters[at] !== ']') at += characters[at] === '\\' ? 2 : 1;
  return at;
}

function characterClass(inside: readonly string[], delimiter: string | undefined): string {
  const negated = inside[0] === '!' || inside[0] === '^';
  const members: string[] = [];
  let source = '';
  for (let at = negated ? 1 : 0; at < inside.length; at++) {
    const isEscape = inside[at] === '\\';
    if (isEscape) at += 1;
    const isRange =
      !isEscape &&
      inside[at] === '-' &&
      members.length > 0 &&
      at + 1 < inside.length &&
      !source.endsWith('-');
    source += isRange ? '-' : quoted(inside[at] ?? '');
    if (source.endsWith('-')) continue;
    members.push(inside[at] ?? '');
  }
  const exclusion = delimiter === undefined ? '' : `(?!\\${delimiter})`;
  return `${exclusion}[${negated ? '^' : ''}${source}]`;
}

function isInBraces(characters: readonly string[], position: number): boolean {
  let depth = 0;
  for (let at = 0; at < position; at++) {
    if (characters[at] === '\\') at += 1;
    else if (characters[at] === '[') at = classEnd(characters, at);
    else if (characters[at] === '{') depth += 1;
    else if (characters[at] === '}') depth -= 1;
  }
  return depth > 0;
}
