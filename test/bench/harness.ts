export interface Contender {
  readonly name: string;
  once(): Promise<void>;
  /** Not measured; settles before anybody's next turn. */
  rest?(): Promise<unknown>;
}

export interface Measurement {
  readonly name: string;
  /** Milliseconds. */
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/**
 * Measures each contender once per round, in turns, so that a slow minute of the machine hits all of them; one unmeasured
 * round first warms caches.
 */
export async function inTurns<T extends { readonly name: string }, R>(
  contenders: readonly T[],
  rounds: number,
  measure: (contender: T) => Promise<R>,
): Promise<[name: string, samples: R[]][]> {
  const samples = new Map<string, R[]>(contenders.map(({ name }) => [name, []]));
  for (const contender of contenders) await measure(contender);
  for (let round = 0; round < rounds; round++)
    for (const contender of contenders) samples.get(contender.name)?.push(await measure(contender));
  return [...samples];
}

export async function compare(contenders: readonly Contender[], rounds: number): Promise<Measurement[]> {
  const times = await inTurns(contenders, rounds, async (contender) => {
    const start = performance.now();
    await contender.once();
    const time = performance.now() - start;
    await contender.rest?.();
    return time;
  });
  return times.map(([name, samples]) => {
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

export function median(samples: readonly number[]): number {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 2)] ?? Number.NaN;
}

/** Several figures a row, each with its ratio to the first row; what a row cannot have is a dash. */
export function printFigures(
  columns: readonly string[],
  digits: readonly number[],
  rows: readonly (readonly [name: string, figures: readonly number[]])[],
): void {
  console.log(`  ${''.padEnd(32)}${columns.map((column) => column.padStart(18)).join('')}`);
  const baseline = rows[0]?.[1] ?? [];
  for (const [name, figures] of rows) {
    const cells = figures.map((figure, column) => {
      const ratio = figure / (baseline[column] ?? Number.NaN);
      const text = Number.isNaN(figure) ? '–' : figure.toFixed(digits[column]);
      return `${text}${Number.isNaN(ratio) ? '' : ` ×${ratio.toFixed(2)}`}`.padStart(18);
    });
    console.log(`  ${name.padEnd(32)}${cells.join('')}`);
  }
}
