/** Values of options, checked. */
import { CastellanError } from '../errors.ts';

/** @throws CastellanError `usage` */
export function readInteger(
  option: string,
  text: string | undefined,
  fallback: number,
  low: number,
  high: number,
): number {
  if (text === undefined) return fallback;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
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
