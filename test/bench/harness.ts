export interface Contender {
  readonly name: string;
  once(): Promise<void>;
}

export interface Measurement {
  readonly name: string;
  /** Milliseconds. */
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/**
 * Runs each contender once per round, in turns, so that a slow minute of the machine hits all of them; one unmeasured
 * round first warms caches.
 */
export async function compare(contenders: readonly Contender[], rounds: number): Promise<Measurement[]> {
  const times = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (const contender of contenders) await contender.once();
  for (let round = 0; round < rounds; round++) {
    for (const contender of contenders) {
      const start = performance.now();
      await contender.once();
      times.get(contender.name)?.push(performance.now() - start);
    }
  }
  return [...times].map(([name, samples]) => {
    const sorted = samples.toSorted((a, b) => a - b);
    const at = (share: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
    return { name, median: at(0.5), low: at(0.1), high: at(0.9) };
  });
}

/** The first row is the baseline of the ratios. */
export function printTable(rows: readonly Measurement[]): void {
  const baseline = rows[0]?.median ?? Number.NaN;
  console.log(`  ${''.padEnd(36)} ${'median'.padStart(9)} ${'p10'.padStart(9)} ${'p90'.padStart(9)}  ratio`);
  for (const { name, median, low, high } of rows)
    console.log(
      `  ${name.padEnd(36)} ${ms(median)} ${ms(low)} ${ms(high)}  ×${(median / baseline).toFixed(1)}`,
    );
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`.padStart(9);
}
