/** Inputs from inputs: cut, doubled, spliced, grown, and with words of the target put in. */
import type { Random } from '../unit/random.ts';

export interface MutationSource {
  readonly corpus: readonly Uint8Array[];
  readonly words: readonly Uint8Array[];
  readonly maxBytes: number;
}

/** Values at the edges of lengths, flags and character classes. */
const EDGE_BYTES = [0, 1, 2, 0x0a, 0x20, 0x2f, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xfe, 0xff] as const;
const MAX_CHANGES = 5;
const MAX_SPAN = 32;
/** One in so many mutants is grown to full length, which is what shows quadratic work. */
const GROW_ONE_IN = 64;

/** One mutant of a member of the corpus. */
export function mutant({ corpus, words, maxBytes }: MutationSource, random: Random): Uint8Array {
  let bytes: Uint8Array = random.pick(corpus);
  for (let count = 1 + random.below(MAX_CHANGES); count > 0; count--)
    bytes = changed(bytes, corpus, words, random);
  if (random.below(GROW_ONE_IN) === 0) bytes = grown(bytes, maxBytes, random);
  return bytes.subarray(0, maxBytes);
}

function changed(
  bytes: Uint8Array,
  corpus: readonly Uint8Array[],
  words: readonly Uint8Array[],
  random: Random,
): Uint8Array {
  const at = random.below(bytes.length + 1);
  const span = Math.min(1 + random.below(MAX_SPAN), bytes.length - at);
  switch (random.below(words.length > 0 ? 8 : 6)) {
    case 0:
      return spliced(bytes, at, Math.min(1, span), Uint8Array.of(random.pick(EDGE_BYTES)));
    case 1:
      return spliced(bytes, at, Math.min(1, span), Uint8Array.of((bytes[at] ?? 0) ^ (1 << random.below(8))));
    case 2:
      return spliced(bytes, at, span, new Uint8Array(0));
    case 3:
      return spliced(bytes, random.below(bytes.length + 1), 0, bytes.subarray(at, at + span));
    case 4:
      return spliced(bytes, at, Math.min(1, span), random.bytes(1 + random.below(4)));
    case 5: {
      const other = random.pick(corpus);
      const from = random.below(other.length + 1);
      return spliced(bytes, at, span, other.subarray(from, from + 1 + random.below(4 * MAX_SPAN)));
    }
    default:
      return spliced(bytes, at, random.below(2) * span, random.pick(words));
  }
}

/** A piece of it repeated until there is no more room. */
function grown(bytes: Uint8Array, maxBytes: number, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  const piece = bytes.subarray(at, at + 1 + random.below(8));
  if (piece.length === 0) return bytes;
  const room = Math.max(0, maxBytes - bytes.length);
  const repeated = Buffer.concat(Array.from({ length: Math.floor(room / piece.length) }, () => piece));
  return spliced(bytes, at, 0, repeated);
}

function spliced(bytes: Uint8Array, at: number, removed: number, added: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);
}
