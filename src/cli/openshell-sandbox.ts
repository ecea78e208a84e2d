/** castellan under the name of OpenShell's supervisor: its drivers' words and variables, in castellan's words. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { PEER_OPTIONS, type PeerOption } from '../config/openshell/arguments.ts';
import { POLICY_PLACE, translatePeer } from '../config/openshell/translate.ts';
import type { Environment } from '../config/variables.ts';
import { escapeText } from '../lib/escape.ts';

export interface PeerProcess {
  readonly env: Environment;
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

/**
 * Gives what castellan's own parser takes; undefined where it has given help. What is set and used by nothing is told in one line on standard error.
 * @throws CastellanError `usage`
 */
export function castellanWords(
  words: readonly string[],
  { env, stdout, stderr }: PeerProcess,
): readonly string[] | undefined {
  const [first] = words;
  if (first === '--version' || first === '-V') return ['--version'];
  if (first === '--help' || first === '-h') {
    stdout.write(peerHelp());
    return undefined;
  }
  const translation = translatePeer(words, {
    environment: env,
    hasPolicy: existsSync(POLICY_PLACE),
    digestOf,
  });
  if (translation.notes.length > 0)
    stderr.write(`castellan: not used here: ${escapeText(translation.notes.join(', '), 4000)}\n`);
  return translation.words;
}

/** What they become, option by option. Pure. */
export function peerHelp(): string {
  const options: readonly PeerOption[] = PEER_OPTIONS;
  const rows = options.map(({ name, short, value, becomes }): [string, string] => [
    `${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`,
    becomes,
  ]);
  const width = Math.max(...rows.map(([left]) => left.length));
  return [
    'openshell-sandbox: castellan in the place of OpenShell’s supervisor',
    '',
    'Usage: openshell-sandbox [OPTIONS] [COMMAND…]',
    '       openshell-sandbox copy-self DESTINATION',
    '',
    'Options, and what they are to castellan:',
    ...rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`),
    '',
    'castellan doctor --env tells the same of variables.',
    '',
    '',
  ].join('\n');
}

function digestOf(path: string): string | undefined {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch {
    // What cannot be read is not known, and refused as such.
    return undefined;
  }
}
