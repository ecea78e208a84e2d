/**
 * Brings an event to its recorded form: well-formed Unicode, nothing undefined, and no longer than a line may be.
 * Container runtimes split longer lines, and consumers' tail buffers cut them.
 */
import type { OcsfEvent } from './base.ts';

export const MAX_EVENT_BYTES = 16 * 1024;
/** Kept free for the attestation that the chain adds. */
const ATTESTATION_BYTES = 512;
/** Bytes of JSON that one text may take; the last leaves ids, addresses, digests and captions whole. */
const TEXT_STEPS = [4096, 1024, 256, 96] as const;
/** Of any list: ancestors and notices beyond this tell little. */
const MAX_ITEMS = 16;
const MAX_JSON_BYTES_PER_UNIT = 6;
const ELLIPSIS = '…';

/** The event as it is recorded; `metadata.is_truncated` tells that something was cut. */
export function fit(event: OcsfEvent): OcsfEvent {
  for (const step of TEXT_STEPS) {
    const form = { maxBytes: step, cut: false };
    const tidied = tidy(event, form) as OcsfEvent;
    const fitted = form.cut ? marked(tidied, event) : tidied;
    if (step === TEXT_STEPS.at(-1) || jsonBytes(fitted) <= MAX_EVENT_BYTES - ATTESTATION_BYTES) return fitted;
  }
  throw new RangeError('no step left');
}

function marked(tidied: OcsfEvent, event: OcsfEvent): OcsfEvent {
  return {
    ...tidied,
    metadata: { ...tidied.metadata, is_truncated: true, untruncated_size: jsonBytes(event) },
  };
}

interface Form {
  readonly maxBytes: number;
  cut: boolean;
}

function tidy(value: unknown, form: Form): unknown {
  if (typeof value === 'string') return clip(value.toWellFormed(), form);
  if (Array.isArray(value)) {
    if (value.length > MAX_ITEMS) form.cut = true;
    return value.slice(0, MAX_ITEMS).map((item) => tidy(item, form));
  }
  if (typeof value !== 'object' || value === null) return value;
  const tidied: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) if (item !== undefined) tidied[name] = tidy(item, form);
  return tidied;
}

function clip(text: string, form: Form): string {
  const { maxBytes } = form;
  if (text.length * MAX_JSON_BYTES_PER_UNIT <= maxBytes || jsonBytes(text) <= maxBytes) return text;
  form.cut = true;
  let bytes = jsonBytes(ELLIPSIS);
  let end = 0;
  for (const character of text) {
    bytes += jsonBytes(character) - 2;
    if (bytes > maxBytes) break;
    end += character.length;
  }
  return text.slice(0, end) + ELLIPSIS;
}

/** With the quotes of a string. */
function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
