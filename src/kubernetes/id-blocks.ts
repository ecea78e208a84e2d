/** Blocks of ids as OpenShift writes them on namespaces: `START/SIZE` or `START-END`, for groups a list with commas. */
import { MAX_ID, parseId } from '../lib/id.ts';

export interface IdBlock {
  readonly start: number;
  /** The last one that belongs to it. */
  readonly end: number;
}

/** A block, or why a text is none. OpenShift's own reader wraps around at 2^32; here that is a problem. */
export type BlockReading =
  | { readonly block: IdBlock; readonly problem?: undefined }
  | { readonly block?: undefined; readonly problem: string };

/** Reads one block. */
export function parseIdBlock(text: string): BlockReading {
  const [, first = '', separator, second = ''] = /^(\d+)([/-])(\d+)$/.exec(text) ?? [];
  if (separator === undefined) return { problem: 'is neither START/SIZE nor START-END' };
  const start = parseId(first);
  const other = parseId(second);
  if (start === undefined || other === undefined)
    return { problem: `has a number that is none from 0 to ${MAX_ID}` };
  if (separator === '/' && other === 0) return { problem: 'is empty' };
  const end = separator === '/' ? start + other - 1 : other;
  if (end > MAX_ID) return { problem: `goes beyond ${MAX_ID}` };
  return end < start ? { problem: 'ends before it starts' } : { block: { start, end } };
}

/** Reads a list of blocks, of which OpenShift gives pods the first's start; a list with one bad block is bad as a whole. */
export function parseIdBlocks(text: string): BlockReading {
  const readings = text.split(',').map(parseIdBlock);
  return readings.find(({ problem }) => problem !== undefined) ?? readings[0] ?? { problem: 'is empty' };
}
