import type { VerbArguments } from '../config/config.ts';
import { CastellanError } from '../errors.ts';
import { nearest } from '../lib/nearest.ts';
import { GLOBAL_OPTIONS, VERBS, type VerbName } from './definition.ts';
import type { OptionDefinition, VerbDefinition } from './option.ts';

export interface ParsedCommand extends VerbArguments {
  readonly verb: VerbName;
}

export type ParseResult =
  | { readonly kind: 'command'; readonly command: ParsedCommand }
  | { readonly kind: 'help'; readonly verb: VerbName | undefined }
  | { readonly kind: 'version' };

/**
 * Reads argv (without node and script). `--` ends the options. Where a command may follow they come before it, so that its own
 * are never read as ours; elsewhere they may stand among the operands.
 * @throws CastellanError `usage`, naming the nearest known word.
 */
export function parseArguments(argv: readonly string[]): ParseResult {
  const [first, ...rest] = argv;
  if (first === undefined || first === '--help' || first === '-h' || first === 'help')
    return { kind: 'help', verb: undefined };
  if (first === '--version' || first === '-V') return { kind: 'version' };
  const [second, ...others] = rest;
  const pair: VerbDefinition | undefined = VERBS.find(({ name }) => name === `${first} ${second}`);
  if (pair !== undefined) return parseVerb(pair, others);
  const verb: VerbDefinition | undefined = VERBS.find(({ name }) => name === first);
  if (verb === undefined) {
    const isPair = second !== undefined && visibleVerbs().some((name) => name.startsWith(`${first} `));
    const words = isPair ? `${first} ${second}` : first;
    throw usage(`unknown command "${words}"`, words, visibleVerbs());
  }
  return parseVerb(verb, rest);
}

function parseVerb(verb: VerbDefinition, words: readonly string[]): ParseResult {
  const name = verb.name as VerbName;
  const options = new Map<string, string[]>();
  const operands: string[] = [];
  let index = 0;
  for (; index < words.length; index++) {
    const word = words[index] ?? '';
    const isOperand = !word.startsWith('-') || word === '-';
    if (word === '--' || (isOperand && verb.operands === 'optional-command')) break;
    if (isOperand) {
      operands.push(word);
      continue;
    }
    if (word === '--help' || word === '-h') return { kind: 'help', verb: name };
    const { definition, inlineValue } = findOption(verb, word);
    if (options.has(definition.name) && !definition.repeatable)
      throw usage(`--${definition.name} is given twice`, word);
    let value = inlineValue;
    if (definition.value !== undefined && value === undefined) {
      value = words[++index];
      if (value === undefined) throw usage(`--${definition.name} needs ${definition.value}`, word);
    }
    if (definition.value === undefined && value !== undefined)
      throw usage(`--${definition.name} takes no value`, word);
    options.set(definition.name, [...(options.get(definition.name) ?? []), value ?? '']);
  }
  operands.push(...(words[index] === '--' ? words.slice(index + 1) : words.slice(index)));
  checkOperands(verb, operands);
  return { kind: 'command', command: { verb: name, options, operands } };
}

function findOption(verb: VerbDefinition, word: string) {
  const known: readonly OptionDefinition[] = [...verb.options, ...GLOBAL_OPTIONS];
  const equals = word.indexOf('=');
  const name = (equals < 0 ? word : word.slice(0, equals)).replace(/^--/, '');
  const definition = known.find(
    (option) => option.name === name || (option.short !== undefined && word === `-${option.short}`),
  );
  if (definition === undefined)
    throw usage(
      `unknown option "${word}" for ${verb.name}`,
      name,
      known.map((option) => option.name),
      '--',
    );
  return { definition, inlineValue: equals < 0 ? undefined : word.slice(equals + 1) };
}

function checkOperands(verb: VerbDefinition, operands: readonly string[]): void {
  if (verb.operands === 'none' && operands.length > 0)
    throw usage(`${verb.name} takes no operand`, operands[0]);
  if (verb.operands === 'one' && operands.length !== 1)
    throw usage(`${verb.name} takes one operand`, verb.synopsis);
  if (verb.operands === 'some' && operands.length === 0)
    throw usage(`${verb.name} takes at least one operand`, verb.synopsis);
  if (verb.operands === 'two' && operands.length !== 2)
    throw usage(`${verb.name} takes two operands`, verb.synopsis);
}

function visibleVerbs(): string[] {
  return VERBS.filter((verb: VerbDefinition) => verb.hidden !== true).map(({ name }) => name);
}

function usage(
  message: string,
  object?: string,
  candidates: readonly string[] = [],
  prefix = '',
): CastellanError {
  const near = object === undefined ? undefined : nearest(object, candidates);
  const suffix = near === undefined ? '' : `; did you mean "${prefix}${near}"?`;
  return new CastellanError('usage', message + suffix, {
    step: 'arguments',
    ...(object === undefined ? {} : { object }),
  });
}
