/** Variables that the person who asked for a sandbox gives to what runs in it, as drivers pass them on: one JSON map. */
import { CastellanError } from '../../errors.ts';

const NAME = 'OPENSHELL_USER_ENVIRONMENT';
/** One variable and its name have to fit into the 128 KiB that execve(2) takes for a string. */
const MAX_BYTES = 128 * 1024;
const MAX_VARIABLES = 1024;
/** They steer supervisors, and mean nothing to an agent. */
const RESERVED = /^(?:OPENSHELL|CASTELLAN)(?:_|$)/;

/**
 * Pairs of name and value. Names that make programs load code are refused where all variables of an operator are.
 * @throws CastellanError `usage`; no message repeats a value
 */
export function readUserEnvironment(text: string): readonly (readonly [string, string])[] {
  if (Buffer.byteLength(text) > MAX_BYTES) throw invalid(`is longer than ${MAX_BYTES} bytes`);
  const value = parse(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('is no JSON map');
  const pairs = Object.entries(value);
  if (pairs.length > MAX_VARIABLES) throw invalid(`has more than ${MAX_VARIABLES} variables`);
  return pairs.map(([name, each]) => {
    const shown = JSON.stringify(name.slice(0, 100));
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw invalid(`has ${shown}, which is no name of a variable`);
    if (RESERVED.test(name)) throw invalid(`has ${shown}, which is for supervisors`);
    if (typeof each !== 'string') throw invalid(`has no text for ${shown}`);
    return [name, each];
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message quotes what it read.
    throw invalid('is not JSON');
  }
}

function invalid(problem: string): CastellanError {
  return new CastellanError('usage', `${NAME} ${problem}`, { step: 'environment', object: NAME });
}
