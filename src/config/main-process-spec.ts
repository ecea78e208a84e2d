/** The main process as an image or an orchestrator names it: one environment variable, read when the command line has no command. */
import * as v from 'valibot';
import { CastellanError } from '../errors.ts';
import { type Environment, readSpellings } from './variables.ts';

export interface MainProcessSpec {
  readonly command: readonly [string, ...string[]];
  /** On a terminal of its own, instead of pipes. */
  readonly tty: boolean;
}

const ENCODED = 'base64url:';
/** One variable and its name have to fit into the 128 KiB that execve(2) takes for a string. */
const MAX_SPEC_BYTES = 128 * 1024;
/** Together they have to fit into execve(2) beside an environment. */
const MAX_ARGUMENTS = 4096;

const Argument = v.pipe(
  v.string(),
  v.check((text) => !text.includes('\0'), 'an argument contains a NUL'),
);
const SpecSchema = v.strictObject({
  version: v.literal(1),
  command: v.pipe(
    v.tupleWithRest([v.pipe(Argument, v.minLength(1, 'the command is an empty word'))], Argument),
    v.maxLength(MAX_ARGUMENTS, `the command has more than ${MAX_ARGUMENTS} words`),
  ),
  tty: v.optional(v.boolean(), false),
});

/**
 * The main process of the environment; undefined when no variable names one.
 * @throws CastellanError `usage`, naming the variable, when it is malformed or the two contradict each other
 */
export function mainProcessSpec(environment: Environment): MainProcessSpec | undefined {
  const [first, second] = readSpellings(environment, 'CASTELLAN_MAIN_PROCESS_SPEC');
  if (first === undefined) return undefined;
  if (second !== undefined && second.value !== first.value)
    throw invalid(`${first.name} and ${second.name}`, 'are both set and differ');
  return parseMainProcessSpec(first.name, first.value);
}

/**
 * Reads one value: JSON, or `base64url:` and JSON encoded without padding.
 * @throws CastellanError `usage`, naming the variable
 */
export function parseMainProcessSpec(name: string, text: string): MainProcessSpec {
  if (Buffer.byteLength(text) > MAX_SPEC_BYTES) throw invalid(name, `is longer than ${MAX_SPEC_BYTES} bytes`);
  const json = text.startsWith(ENCODED) ? decode(name, text.slice(ENCODED.length)) : text;
  const result = v.safeParse(SpecSchema, parseJson(name, json));
  if (!result.success) {
    const [issue] = result.issues;
    const where = v.getDotPath(issue);
    throw invalid(name, `${where === null ? '' : `at ${where}: `}${issue.message}`);
  }
  return result.output;
}

/** Node's own decoder passes over what does not belong; encoding again shows whether there was any. */
function decode(name: string, text: string): string {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') !== text) throw invalid(name, 'is not base64url without padding');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalid(name, 'is not UTF-8 below its base64url');
  }
}

function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid(name, text === '' ? 'is empty' : 'is not JSON');
  }
}

function invalid(name: string, problem: string): CastellanError {
  return new CastellanError('usage', `${name} ${problem}`, {
    step: 'arguments',
    object: name,
    remedy: 'give {"version":1,"command":["…"],"tty":false}, or a command after --',
  });
}
