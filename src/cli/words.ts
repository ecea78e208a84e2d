import { CastellanError } from '../errors.ts';

/**
 * The value of an option that takes one of some words; undefined where it is not given.
 * @throws CastellanError `usage`
 */
export function chosenWord<Word extends string>(
  options: ReadonlyMap<string, readonly string[]>,
  option: string,
  words: readonly Word[],
): Word | undefined {
  const text = options.get(option)?.[0];
  const word = words.find((known) => known === text);
  if (text !== undefined && word === undefined)
    throw new CastellanError('usage', `--${option} ${text}: one of ${words.join(', ')}`, {
      step: 'arguments',
    });
  return word;
}
