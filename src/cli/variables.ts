/** `castellan doctor --env`: which variables castellan knows, which are set here, and what they decide. */
import { type Environment, setSpellings, VARIABLES } from '../config/variables.ts';
import { escapeText } from '../lib/escape.ts';

export interface VariableReport {
  readonly name: string;
  readonly spellings: readonly string[];
  /** Verbs of castellan, or modes of openshell-sandbox. */
  readonly accepted: readonly string[];
  readonly setBy: string;
  readonly decides: string;
  /** Whether it could loosen a sandbox, and is therefore taken from a command line only. */
  readonly isSwitch: boolean;
  /** What is set here, by spelling; a value that may be a secret is `<set>`. */
  readonly here: Readonly<Record<string, string>>;
}

/** Pure. */
export function reportVariables(environment: Environment): VariableReport[] {
  return VARIABLES.map((row) => ({
    name: row.name,
    spellings: row.spellings ?? [],
    accepted: row.accepted,
    setBy: row.setBy,
    decides: row.decides,
    isSwitch: row.isSwitch ?? false,
    here: Object.fromEntries(
      setSpellings(environment, row).map(({ name, value }) => [name, row.isSecret ? '<set>' : value]),
    ),
  }));
}

/** For a person. Pure. */
export function describeVariables(reports: readonly VariableReport[]): string {
  const width = Math.max(...reports.map(({ name }) => name.length));
  const margin = ' '.repeat(width + 4);
  return reports
    .flatMap(({ name, spellings, accepted, setBy, decides, isSwitch, here }) => [
      `  ${name.padEnd(width)}  ${decides}`,
      `${margin}set by ${setBy}; ${accepted.length === 0 ? 'not taken' : `taken in ${accepted.join(', ')}`}${isSwitch ? '; a switch, for the command line' : ''}${spellings.length === 0 ? '' : `; also ${spellings.join(', ')}`}`,
      ...Object.entries(here).map(
        ([spelling, value]) => `${margin}here: ${spelling}=${escapeText(value, 200)}`,
      ),
      '',
    ])
    .join('\n');
}
