/**
 * Which characters of castellan's sources have run, by V8's block coverage. Asked once for a batch of inputs, because each
 * answer costs milliseconds; a batch that reached something new is halved until the inputs are found that did.
 */
import { Session } from 'node:inspector';

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}
interface Answer {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly { readonly ranges: readonly Range[] }[];
  }[];
}

/** Ours, and the library whose schemas are the parsers of the wire. */
const SOURCES = /\/(?:src|valibot)\//;

export class Coverage implements Disposable {
  readonly #session = new Session();
  readonly #reached = new Map<string, Uint8Array>();

  constructor() {
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Whether anything ran since the last call that never had; with `keep` it has from now on. */
  takeNew(keep: boolean): boolean {
    let isNew = false;
    for (const { url, functions } of this.#take().result) {
      if (!SOURCES.test(url)) continue;
      const ranges = functions.flatMap((each) => each.ranges);
      const end = Math.max(0, ...ranges.map(({ endOffset }) => endOffset));
      const now = new Uint8Array(end);
      // Outer ranges come before those inside them.
      for (const { startOffset, endOffset, count } of ranges)
        now.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      const before = this.#reached.get(url) ?? new Uint8Array(0);
      if (!now.some((ran, offset) => ran === 1 && before[offset] !== 1)) continue;
      isNew = true;
      if (keep) this.#reached.set(url, union(before, now));
    }
    return isNew;
  }

  [Symbol.dispose](): void {
    this.#session.post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }

  /** In this thread, a post is answered before it returns. */
  #take(): Answer {
    let answer: Answer = { result: [] };
    this.#session.post('Profiler.takePreciseCoverage', (error, result) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  }
}

function union(a: Uint8Array, b: Uint8Array): Uint8Array {
  const [longer, shorter] = a.length > b.length ? [a.slice(), b] : [b.slice(), a];
  shorter.forEach((ran, offset) => {
    if (ran === 1) longer[offset] = 1;
  });
  return longer;
}
