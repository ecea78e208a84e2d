/**
 * The text of a record in the log. JSON leaves some characters as they are that end a line for many readers (U+0085,
 * U+2028), or that a terminal obeys when the file is shown on it (C1 controls, changes of direction): all are escaped.
 */
export function recordLine(record: unknown): string {
  return JSON.stringify(record).replace(UNSAFE, escapeUnit);
}

const UNSAFE = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
