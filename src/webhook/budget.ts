/** A bounded amount of something that many hold, of which no one holder may have more than a share. */
export interface Budget {
  /** Whether the amount could be had; what was had is given back with `give`. */
  take(holder: string, amount: number): boolean;
  give(holder: string, amount: number): void;
}

export function openBudget(total: number, share: number): Budget {
  let free = total;
  const held = new Map<string, number>();
  return {
    take(holder, amount) {
      const now = (held.get(holder) ?? 0) + amount;
      if (amount > free || now > share) return false;
      free -= amount;
      held.set(holder, now);
      return true;
    },
    give(holder, amount) {
      const now = (held.get(holder) ?? 0) - amount;
      free += amount;
      if (now > 0) held.set(holder, now);
      else held.delete(holder);
    },
  };
}
