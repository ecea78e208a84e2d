/** What servers of different habits would read out of one byte stream: requests are safe to relay only if they all read the same. */

export interface Reading {
  readonly method: string;
  readonly target: string;
  readonly length: number;
}

interface Habits {
  /** Which of the two framing fields counts where there are both, and the first or last of several lengths. */
  readonly prefer: 'chunks' | 'first-length' | 'last-length';
  /** A line may end without CR. */
  readonly bareLf: boolean;
  /** `Transfer-Encoding` is heard through spaces, case, quotes and other codings. */
  readonly lenientCoding: boolean;
}

const HABITS: readonly Habits[] = (['chunks', 'first-length', 'last-length'] as const).flatMap((prefer) =>
  [false, true].flatMap((bareLf) =>
    [false, true].map((lenientCoding) => ({ prefer, bareLf, lenientCoding })),
  ),
);

/** The requests in `bytes` as each kind of server reads them. */
export function allReadings(bytes: string): Reading[][] {
  return HABITS.map((habits) => readRequests(bytes, habits));
}

function readRequests(bytes: string, habits: Habits): Reading[] {
  const found: Reading[] = [];
  let rest = bytes;
  while (rest !== '') {
    const end = habits.bareLf ? /\r?\n\r?\n/.exec(rest) : /\r\n\r\n/.exec(rest);
    if (end === null) return [...found, { method: '<unfinished>', target: rest.slice(0, 80), length: 0 }];
    const lines = rest.slice(0, end.index).split(habits.bareLf ? /\r?\n/ : /\r\n/);
    const [method = '', target = ''] = (lines[0] ?? '').split(' ');
    const body = rest.slice(end.index + end[0].length);
    const length = bodyLength(lines.slice(1), body, habits);
    found.push({ method, target, length });
    rest = body.slice(length);
  }
  return found;
}

function bodyLength(lines: readonly string[], body: string, { prefer, lenientCoding }: Habits): number {
  const values = (name: RegExp) =>
    lines.flatMap((line) => {
      const [, key = '', value = ''] = /^([^:]*):(.*)$/s.exec(line) ?? [];
      return name.test(key) ? [value] : [];
    });
  const codings = values(lenientCoding ? /^[\s"]*transfer[-_]encoding[\s"]*$/i : /^transfer-encoding$/i);
  const lengths = values(/^\s*content[-_]length\s*$/i).map((value) => Number.parseInt(value, 10) || 0);
  const chunked = codings.some((value) => (lenientCoding ? /chunked/i : /^\s*chunked\s*$/).test(value));
  if (chunked && (prefer === 'chunks' || lengths.length === 0)) return chunkedLength(body);
  return (prefer === 'last-length' ? lengths.at(-1) : lengths[0]) ?? 0;
}

function chunkedLength(body: string): number {
  let at = 0;
  for (;;) {
    const line = /^[^\n]*\n/.exec(body.slice(at))?.[0];
    if (line === undefined) return body.length;
    const size = Number.parseInt(line, 16) || 0;
    at += line.length;
    if (size === 0) {
      const end = /^(?:[^\n]+\n)*?\r?\n/.exec(body.slice(at));
      return end === null ? body.length : at + end[0].length;
    }
    at += size + 2;
  }
}
