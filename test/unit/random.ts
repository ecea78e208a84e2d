/** Random choices that are the same in every run: a linear congruential generator modulo 2^32 (Numerical Recipes). */
export interface Random {
  /** A whole number from 0 up to, not including, `limit`. */
  below(limit: number): number;
  pick<T>(items: readonly T[]): T;
  bytes(length: number): Uint8Array;
}

export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  return {
    below,
    pick: <T>(items: readonly T[]): T => {
      const item = items[below(items.length)];
      if (item === undefined) throw new RangeError('nothing to pick from');
      return item;
    },
    bytes: (length) => Uint8Array.from({ length }, () => below(256)),
  };
}

/** The bytes with a few places changed, cut out or doubled. */
export function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  const mutant = [...bytes];
  for (let count = 1 + random.below(4); count > 0; count--) {
    const at = random.below(mutant.length + 1);
    const change = random.below(4);
    if (change === 0)
      mutant[Math.min(at, mutant.length - 1)] = random.pick([
        0,
        1,
        0x3f,
        0x40,
        0xc0,
        0xff,
        random.below(256),
      ]);
    else if (change === 1) mutant.splice(at, 1 + random.below(8));
    else if (change === 2) mutant.splice(at, 0, ...mutant.slice(at, at + 1 + random.below(16)));
    else mutant.length = at;
  }
  return Uint8Array.from(mutant);
}
