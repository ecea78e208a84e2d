/** Values of options, checked. */
import { CastellanError } from '../errors.ts';

/** sun_path takes 108 bytes, one of which ends a path or begins an abstract name (unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Decimal, without leading zeros: some read them as octal.
 * @throws CastellanError `usage`
 */
export function readInteger(
  option: string,
  text: string | undefined,
  fallback: number,
  low: number,
  high: number,
): number {
  if (text === undefined) return fallback;
  const value = /^(?:0|[1-9]\d{0,9})$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= low && value <= high))
    throw usage(`--${option} ${text}: a whole number from ${low} to ${high}`);
  return value;
}

/** @throws CastellanError `usage` */
export function readWord<Word extends string>(option: string, text: string, words: readonly Word[]): Word {
  const word = words.find((known) => known === text);
  if (word === undefined) throw usage(`--${option} ${text}: one of ${words.join(', ')}`);
  return word;
}

export function usage(message: string): CastellanError {
  return new CastellanError('usage', message, { step: 'arguments' });
}
