/**
 * Brings an event to its recorded form: well-formed Unicode, nothing undefined, and no longer than a line may be.
 * Container runtimes split longer lines, and consumers' tail buffers cut them.
 */
import { recordLine } from '../line.ts';
import type { OcsfEvent } from './base.ts';

export const MAX_EVENT_BYTES = 16 * 1024;
/** Kept free for what comes on top: the attestation of the chain, and the mark that something was cut. */
const RESERVED_BYTES = 512;
/** Bytes of JSON that one text may take; the last leaves ids, addresses, digests and captions whole. */
const TEXT_STEPS = [4096, 1024, 256, 96] as const;
/** Of any list: ancestors and notices beyond this tell little. */
const MAX_ITEMS = 16;
const ELLIPSIS = '…';
const ELLIPSIS_BYTES = 3;

/** The event as it is recorded; `metadata.is_truncated` tells that something was cut. */
export function fitted(event: Readonly<Record<string, unknown>>): OcsfEvent {
  for (const step of TEXT_STEPS) {
    const form = { maxBytes: step, cut: false };
    const tidied = tidy(event, form) as OcsfEvent;
    if (step !== TEXT_STEPS.at(-1) && jsonBytes(tidied) > MAX_EVENT_BYTES - RESERVED_BYTES) continue;
    if (!form.cut) return tidied;
    const cut = { is_truncated: true, untruncated_size: jsonBytes(event) };
    return { ...tidied, metadata: { ...tidied.metadata, ...cut } };
  }
  throw new RangeError('the last step always ends the loop');
}

interface Form {
  readonly maxBytes: number;
  cut: boolean;
}

function tidy(value: unknown, form: Form): unknown {
  if (typeof value === 'string') return clip(value, form);
  if (Array.isArray(value)) {
    if (value.length > MAX_ITEMS) form.cut = true;
    return value.slice(0, MAX_ITEMS).map((item) => tidy(item, form));
  }
  if (typeof value !== 'object' || value === null) return value;
  const tidied: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) if (item !== undefined) tidied[name] = tidy(item, form);
  return tidied;
}

/** Looks at no more of a text than it may keep: whoever chose a long one must not be able to make it expensive. */
function clip(text: string, form: Form): string {
  const { maxBytes } = form;
  if (text.length * MAX_UNIT_BYTES <= maxBytes) return text.toWellFormed();
  let bytes = 0;
  let end = 0;
  for (let index = 0; index < text.length; index += 1) {
    bytes += unitBytes(text.charCodeAt(index));
    if (bytes > maxBytes) {
      form.cut = true;
      return text.slice(0, end).toWellFormed() + ELLIPSIS;
    }
    if (bytes <= maxBytes - ELLIPSIS_BYTES) end = index + 1;
  }
  return text.toWellFormed();
}

const MAX_UNIT_BYTES = 6;

/** At most what a UTF-16 unit takes in a line: escaped, or as UTF-8, where half of a pair becomes U+FFFD. */
function unitBytes(unit: number): number {
  if (unit < 0x20 || (unit >= 0x7f && unit < 0xa0) || unit === 0x61c || unit === 0xfeff)
    return MAX_UNIT_BYTES;
  if (unit < 0x80) return unit === 0x22 || unit === 0x5c ? 2 : 1;
  if (unit < 0x800) return 2;
  return unit >= 0x2000 && unit < 0x2070 ? MAX_UNIT_BYTES : 3;
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(recordLine(value));
}
