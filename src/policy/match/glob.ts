/**
 * The one glob dialect of castellan. The delimiter is `/` in paths and `.` in host names; other texts (query values, names
 * of tools and operations) have none, so that a `*` there matches whatever the value holds.
 *
 *   *        any run without the delimiter, also an empty one
 *   **       any run, delimiters included; as a whole component, `/ ** /` (without spaces) also stands for a single `/`
 *   ?        one character, not the delimiter
 *   [a-z_]   one of these characters, [!a-z] or [^a-z] one of the others; never the delimiter
 *   {a,b}    one of the alternatives, which may hold globs
 *   \x       the character x itself
 *
 * Host names have only `*` and `**`. Everything is case-sensitive and the whole text has to match.
 *
 * A pattern becomes a non-deterministic automaton that is run over all its states at once: the time is at most the
 * length of the text times the length of the pattern, whatever an agent calls its files.
 */

export interface GlobDialect {
  readonly delimiter: '/' | '.' | undefined;
  /** Whether `?`, `[]`, `{}` and `\` mean anything; where they do not, they are refused. */
  readonly classes: boolean;
}

export const PATH_GLOB: GlobDialect = { delimiter: '/', classes: true };
export const HOST_GLOB: GlobDialect = { delimiter: '.', classes: false };
export const TEXT_GLOB: GlobDialect = { delimiter: undefined, classes: true };

export interface Glob {
  readonly matches: (text: string) => boolean;
}

export interface GlobProblem {
  readonly problem: string;
}

/** Patterns are compared with every name an agent makes up; real ones are far shorter. */
const MAX_GLOB_LENGTH = 1024;
const MAX_NESTED_BRACES = 8;

type Test = (character: string) => boolean;

type Token =
  | { readonly kind: 'one'; readonly test: Test }
  | { readonly kind: 'run'; readonly test: Test }
  | { readonly kind: 'choice'; readonly branches: readonly (readonly Token[])[] };

interface State {
  /** Which characters lead on; undefined where none is consumed. */
  readonly test: Test | undefined;
  /** A run: the character leads back here, and the next states are reached without one. */
  readonly loops: boolean;
  readonly next: readonly number[];
}

/** Compiles a pattern, or says what is wrong with it. */
export function parseGlob(source: string, dialect: GlobDialect): Glob | GlobProblem {
  const automaton = compileGlob(source, dialect);
  if ('problem' in automaton) return automaton;
  return { matches: (text) => run(automaton.states, automaton.start, text) };
}

/**
 * Whether some text matches both patterns. It is looked for with the characters of both patterns, and some of neither; where
 * the search would take too long the answer is yes, and so it is for what is no pattern.
 */
export function globsOverlap(one: string, other: string, dialect: GlobDialect): boolean {
  const [a, b] = [compileGlob(one, dialect), compileGlob(other, dialect)];
  if ('problem' in a || 'problem' in b) return true;
  const alphabet = new Set([...one, ...other, ...SAMPLE_CHARACTERS]);
  const seen = new Set<string>();
  const pending: [Set<number>, Set<number>][] = [[entered(a), entered(b)]];
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const [here, there] = pair;
    if (here.has(END) && there.has(END)) return true;
    for (const character of alphabet) {
      const next: [Set<number>, Set<number>] = [
        step(a.states, here, character),
        step(b.states, there, character),
      ];
      const key = next.map((states) => [...states].toSorted().join()).join('|');
      if (next[0].size === 0 || next[1].size === 0 || seen.has(key)) continue;
      if (seen.size >= MAX_PAIRS) return true;
      seen.add(key);
      pending.push(next);
    }
  }
  return false;
}

/** Stand for all characters that neither pattern names, in and out of the usual classes. */
const SAMPLE_CHARACTERS = 'aAzZmM059_-é\u{1f600}';
const MAX_PAIRS = 20_000;

interface Automaton {
  readonly states: readonly State[];
  readonly start: number;
}

/** The state that a whole match ends in. */
const END = 0;

function compileGlob(source: string, dialect: GlobDialect): Automaton | GlobProblem {
  if (source.length > MAX_GLOB_LENGTH)
    return { problem: `the pattern is longer than ${MAX_GLOB_LENGTH} characters` };
  const parsed = new GlobParser(source, dialect).parse();
  return 'problem' in parsed ? parsed : compile(parsed.tokens);
}

const anything: Test = () => true;

/** Recursive descent; the first problem stays and ends it. */
class GlobParser {
  readonly #characters: readonly string[];
  readonly #dialect: GlobDialect;
  readonly #inComponent: Test;
  #at = 0;
  #problem: string | undefined;

  constructor(source: string, dialect: GlobDialect) {
    this.#characters = [...source];
    this.#dialect = dialect;
    this.#inComponent = (character) => character !== dialect.delimiter;
  }

  parse(): { readonly tokens: readonly Token[] } | GlobProblem {
    const tokens = this.#sequence(0);
    return this.#problem === undefined ? { tokens } : { problem: this.#problem };
  }

  #sequence(depth: number): Token[] {
    const tokens: Token[] = [];
    while (this.#problem === undefined && this.#at < this.#characters.length) {
      if (depth > 0 && this.#looksAt(',', '}')) break;
      tokens.push(this.#token(depth));
    }
    return tokens;
  }

  #token(depth: number): Token {
    const character = this.#take();
    if (character === '*') return this.#stars();
    if ('?[]{}\\'.includes(character)) {
      if (!this.#dialect.classes) return this.#fail(`"${character}" has no meaning here, only * and ** have`);
      if (character === '?') return { kind: 'one', test: this.#inComponent };
      if (character === '[') return this.#class();
      if (character === '{') return this.#choice(depth + 1);
      if (character === '\\')
        return this.#at < this.#characters.length ? literal(this.#take()) : this.#fail('a "\\" at the end');
      return this.#fail(`a "${character}" that nothing opened`);
    }
    return literal(character);
  }

  #stars(): Token {
    if (!this.#looksAt('*')) return { kind: 'run', test: this.#inComponent };
    const { delimiter } = this.#dialect;
    const startsComponent = delimiter !== undefined && this.#characters[this.#at - 2] === delimiter;
    this.#at++;
    if (this.#looksAt('*')) return this.#fail('more than two "*" in a row');
    if (!startsComponent || !this.#looksAt(delimiter)) return { kind: 'run', test: anything };
    this.#at++;
    return { kind: 'choice', branches: [[], [{ kind: 'run', test: anything }, literal(delimiter)]] };
  }

  #choice(depth: number): Token {
    if (depth > MAX_NESTED_BRACES) return this.#fail(`"{" nested deeper than ${MAX_NESTED_BRACES}`);
    const branches = [this.#sequence(depth)];
    while (this.#looksAt(',')) {
      this.#at++;
      branches.push(this.#sequence(depth));
    }
    if (this.#take() !== '}') return this.#fail('a "{" that is not closed');
    return { kind: 'choice', branches };
  }

  #class(): Token {
    const negated = this.#looksAt('!', '^');
    if (negated) this.#at++;
    const ranges: [number, number][] = [];
    while (this.#at < this.#characters.length && !this.#looksAt(']')) {
      const low = this.#classMember();
      const isRange = this.#looksAt('-') && this.#characters[this.#at + 1] !== ']';
      if (isRange) this.#at++;
      const high = isRange ? this.#classMember() : low;
      if (high < low) return this.#fail('a range in "[]" that runs backwards');
      ranges.push([low, high]);
    }
    if (this.#take() !== ']') return this.#fail('a "[" that is not closed');
    if (ranges.length === 0) return this.#fail('an empty "[]"');
    const { delimiter } = this.#dialect;
    const test: Test = (character) => {
      const point = character.codePointAt(0) ?? 0;
      return (
        character !== delimiter && ranges.some(([low, high]) => low <= point && point <= high) !== negated
      );
    };
    return { kind: 'one', test };
  }

  #classMember(): number {
    const character = this.#take();
    return (character === '\\' ? this.#take() : character).codePointAt(0) ?? 0;
  }

  #looksAt(...characters: readonly string[]): boolean {
    return characters.includes(this.#characters[this.#at] ?? '');
  }

  /** The next character; empty at the end, which no caller takes for one. */
  #take(): string {
    return this.#characters[this.#at++] ?? '';
  }

  #fail(problem: string): Token {
    this.#problem ??= problem;
    return { kind: 'choice', branches: [] };
  }
}

function literal(wanted: string): Token {
  return { kind: 'one', test: (character) => character === wanted };
}

/** State 0 is the end; each token is placed before the state that follows it. */
function compile(tokens: readonly Token[]): Automaton {
  const states: State[] = [{ test: undefined, loops: false, next: [] }];
  const place = (sequence: readonly Token[], following: number): number =>
    sequence.reduceRight((next, token) => {
      if (token.kind !== 'choice')
        return states.push({ test: token.test, loops: token.kind === 'run', next: [next] }) - 1;
      const starts = token.branches.map((branch) => place(branch, next));
      return states.push({ test: undefined, loops: false, next: starts }) - 1;
    }, following);
  return { states, start: place(tokens, END) };
}

function run(states: readonly State[], start: number, text: string): boolean {
  let active = entered({ states, start });
  for (const character of text) {
    active = step(states, active, character);
    if (active.size === 0) return false;
  }
  return active.has(END);
}

function step(states: readonly State[], active: ReadonlySet<number>, character: string): Set<number> {
  const reached = new Set<number>();
  for (const index of active) {
    const state = states[index];
    if (!state?.test?.(character)) continue;
    if (state.loops) enter(states, index, reached);
    else for (const next of state.next) enter(states, next, reached);
  }
  return reached;
}

function entered({ states, start }: Automaton): Set<number> {
  const active = new Set<number>();
  enter(states, start, active);
  return active;
}

/** Adds a state and all that are reached from it without a character. */
function enter(states: readonly State[], first: number, active: Set<number>): void {
  const pending = [first];
  for (let index = pending.pop(); index !== undefined; index = pending.pop()) {
    if (active.has(index)) continue;
    active.add(index);
    const state = states[index];
    if (state !== undefined && (state.loops || state.test === undefined)) pending.push(...state.next);
  }
}
