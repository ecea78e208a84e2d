/** Server-sent events (WHATWG HTML §9.2) as a model's answer streams them: passed on event by event, so that one that breaks off can be ended in words. */
import { type ModelUsage, noteUsage } from './model-usage.ts';

export class EventSplitter {
  readonly #maxEventBytes: number;
  #held: Buffer[] = [];
  #length = 0;

  constructor(maxEventBytes: number) {
    this.#maxEventBytes = maxEventBytes;
  }

  /** The events that are whole by now; undefined where one is longer than it may be. */
  push(chunk: Buffer): Buffer | undefined {
    const seam = Buffer.concat([this.#tail(), chunk]);
    const end = endOfEvents(seam);
    this.#held.push(chunk);
    this.#length += chunk.length;
    if (end === 0) return this.#length > this.#maxEventBytes ? undefined : Buffer.alloc(0);
    const all = this.rest();
    const split = all.length - (seam.length - end);
    const left = all.subarray(split);
    if (left.length > 0) this.#held = [left];
    this.#length = left.length;
    return left.length > this.#maxEventBytes ? undefined : all.subarray(0, split);
  }

  /** What is held of an event that is not whole; it is held no longer. */
  rest(): Buffer {
    const all = Buffer.concat(this.#held, this.#length);
    this.#held = [];
    this.#length = 0;
    return all;
  }

  /** A blank line may begin in one chunk and end in the next. */
  #tail(): Buffer {
    let tail = Buffer.alloc(0);
    for (let index = this.#held.length - 1; index >= 0 && tail.length < SEAM; index -= 1)
      tail = Buffer.concat([this.#held[index] ?? Buffer.alloc(0), tail]).subarray(-SEAM);
    return tail;
  }
}

const SEAM = 3;

/** Behind the last blank line; 0 where there is none. */
function endOfEvents(bytes: Buffer): number {
  const [plain, windows] = [bytes.lastIndexOf('\n\n'), bytes.lastIndexOf('\r\n\r\n')];
  return Math.max(plain < 0 ? 0 : plain + 2, windows < 0 ? 0 : windows + 4);
}

/** Notes what events tell of tokens; those without a count are not parsed. */
export function noteEventUsage(events: Buffer, usage: ModelUsage): void {
  if (!events.includes('"usage"')) return;
  for (const line of events.toString('utf8').split(/\r?\n/))
    if (line.startsWith('data:') && line.includes('"usage"')) noteUsage(line.slice('data:'.length), usage);
}

/** The event that ends a stream which broke off, as the provider's own client takes for an error. */
export function errorEvent(isAnthropic: boolean, message: string): string {
  const error = { type: isAnthropic ? 'api_error' : 'proxy_stream_error', message };
  return isAnthropic
    ? `event: error\ndata: ${JSON.stringify({ type: 'error', error })}\n\n`
    : `data: ${JSON.stringify({ error })}\n\n`;
}
