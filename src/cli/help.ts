import { ERROR_CODES } from '../errors.ts';
import { GLOBAL_OPTIONS, VERBS, type VerbName } from './definition.ts';
import type { OptionDefinition, VerbDefinition } from './option.ts';

/** The text of `castellan --help`, or of one verb's help. */
export function helpText(verb: VerbName | undefined): string {
  const definition: VerbDefinition | undefined = VERBS.find(({ name }) => name === verb);
  return definition === undefined ? overview() : verbHelp(definition);
}

function overview(): string {
  const verbs = VERBS.filter((verb: VerbDefinition) => verb.hidden !== true);
  return [
    'castellan: the supervisor inside an AI agent’s sandbox',
    '',
    'Usage: castellan COMMAND [OPTIONS] …',
    '',
    ...table(verbs.map(({ name, summary }) => [name, summary])),
    '',
    'castellan COMMAND --help tells the options of one command.',
    '',
    'Exit codes of castellan itself (any other is the command’s own; 128+n after signal n):',
    ...table(Object.entries(ERROR_CODES).map(([code, { exit }]) => [String(exit), code])),
    '',
  ].join('\n');
}

function verbHelp(verb: VerbDefinition): string {
  return [
    `Usage: ${verb.synopsis}`,
    '',
    `${verb.summary[0]?.toUpperCase()}${verb.summary.slice(1)}.`,
    '',
    ...table(
      [...verb.options, ...GLOBAL_OPTIONS.slice(0, 1)].map((option) => [spelling(option), option.help]),
    ),
    '',
  ].join('\n');
}

function spelling(option: OptionDefinition): string {
  const short = option.short === undefined ? '' : `-${option.short}, `;
  return `${short}--${option.name}${option.value === undefined ? '' : ` ${option.value}`}`;
}

function table(rows: readonly (readonly [string, string])[] | readonly string[][]): string[] {
  const width = Math.max(...rows.map((row) => row[0]?.length ?? 0));
  return rows.map((row) => `  ${(row[0] ?? '').padEnd(width)}  ${row[1] ?? ''}`);
}
