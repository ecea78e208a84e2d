/** What a fuzz target is: bytes in, and a check of every property that has to hold whatever they are. */
import { Choices } from './choices.ts';

export interface Target {
  /** Of the target, and of the folder of its vectors. */
  readonly name: string;
  /** Inputs that reach deep; the mutation starts from them. */
  readonly seeds: readonly (string | Uint8Array)[];
  /** Put in by mutation, where chance would take too long. */
  readonly words?: readonly (string | Uint8Array)[];
  /** The most that the parser is ever given; default 4096. */
  readonly maxBytes?: number;
  /** What each byte may cost beside the fixed allowance; default 2. Quadratic work shows in long inputs. */
  readonly microsecondsPerByte?: number;
  /** Shares of the time, where one is too little; default 1. */
  readonly weight?: number;
  /** Throws where a property does not hold. */
  readonly check: (input: Uint8Array) => void | Promise<void>;
}

/** A target whose input is text. What is no UTF-8 comes as replacement characters. */
export function textTarget(
  target: Omit<Target, 'check'> & { readonly check: (text: string) => void },
): Target {
  return { ...target, check: (input) => target.check(Buffer.from(input).toString('utf8')) };
}

/** A target whose input decides the choices of a generator, so that structured inputs are mutated and shrunk as bytes. */
export function choiceTarget(
  target: Omit<Target, 'check' | 'seeds'> & { readonly check: (choices: Choices) => void | Promise<void> },
): Target {
  const seeds = [new Uint8Array(0), Uint8Array.from({ length: 256 }, (_, index) => (index * 89 + 7) % 256)];
  return { ...target, seeds, check: (input) => target.check(new Choices(input)) };
}

/** @throws AssertionError unless `run` returns, or throws what `isExpected` takes; gives what it returned */
export function returnsOr<T>(run: () => T, isExpected: (error: unknown) => boolean): T | undefined {
  try {
    return run();
  } catch (error) {
    if (isExpected(error)) return undefined;
    throw error;
  }
}
