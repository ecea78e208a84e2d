/** The newest output of a process, in bounded memory: a ring that readers follow by position. Pure. */

export type OutputName = 'stdout' | 'stderr';

/** Bytes of one output that follow each other. */
export interface OutputPiece {
  readonly to: OutputName;
  /** A copy: the ring is written over while a reader is slow. */
  readonly bytes: Uint8Array;
  /** Position after them. */
  readonly next: number;
}

export interface History {
  append(to: OutputName, bytes: Uint8Array): void;
  /** Position of the oldest byte that is still there; it only grows. */
  oldest(): number;
  /** Position after the newest byte: how many there have been. */
  end(): number;
  /** What follows a position that is not older than the oldest, up to `limit` bytes; undefined at the end. */
  read(position: number, limit: number): OutputPiece | undefined;
}

/** Where one output's bytes begin; they go on to the next segment. */
interface Segment {
  readonly to: OutputName;
  readonly from: number;
}

/** A process that changes its output with every byte costs an object each time; beyond so many, the oldest bytes go early. */
const MAX_SEGMENTS = 8192;

/** Keeps the last `capacity` bytes of both outputs, in their order. */
export function createHistory(capacity: number): History {
  const ring = Buffer.alloc(capacity);
  const segments: Segment[] = [];
  let oldest = 0;
  let end = 0;
  const store = (bytes: Uint8Array) => {
    const kept = bytes.subarray(Math.max(0, bytes.length - capacity));
    const at = (end + bytes.length - kept.length) % capacity;
    const first = kept.subarray(0, capacity - at);
    ring.set(first, at);
    ring.set(kept.subarray(first.length), 0);
    end += bytes.length;
  };
  const forget = () => {
    const surplus = segments[segments.length - MAX_SEGMENTS];
    oldest = Math.max(oldest, end - capacity, surplus?.from ?? 0);
    const passed = segments.findIndex((_, index) => (segments[index + 1]?.from ?? Infinity) > oldest);
    if (passed > 0) segments.splice(0, passed);
  };
  return {
    append(to, bytes) {
      if (bytes.length === 0) return;
      if (segments.at(-1)?.to !== to) segments.push({ to, from: end });
      store(bytes);
      forget();
    },
    oldest: () => oldest,
    end: () => end,
    read(position, limit) {
      if (position >= end) return undefined;
      const index = segmentAt(segments, position);
      const to = segments[index]?.to ?? 'stdout';
      const at = position % capacity;
      const next = Math.min(position + limit, segments[index + 1]?.from ?? end, position + capacity - at);
      return { to, bytes: Uint8Array.prototype.slice.call(ring, at, at + next - position), next };
    },
  };
}

/** Index of the segment that holds the position, by bisection. */
function segmentAt(segments: readonly Segment[], position: number): number {
  let low = 0;
  let high = segments.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((segments[middle]?.from ?? 0) <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}
