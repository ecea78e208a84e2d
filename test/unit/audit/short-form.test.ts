import { describe, expect, it } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import { toOcsf } from '../../../src/audit/ocsf/to-ocsf.ts';
import { shortForm } from '../../../src/audit/short-form.ts';
import { ALL_FACTS, CONTEXT, IDENTITY, poisoned, request, SAMPLES } from './facts.ts';

const TIME = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

function linesOf(fact: AuditFact, colour = false): string[] {
  return toOcsf(fact, () => ({ time: TIME, sequence: 0 }), CONTEXT).map((event) =>
    shortForm(event, { colour }),
  );
}

describe('shortForm', () => {
  it.each<[AuditFact, string]>([
    [
      SAMPLES['connection-allowed'][0],
      '2026-01-02T03:04:05.678Z NET     info ALLOWED /usr/bin/curl[58] [rule items] api.example.org:443 allowed by items',
    ],
    [
      SAMPLES['connection-denied'][0],
      '2026-01-02T03:04:05.678Z NET     med  DENIED /usr/bin/curl[58] api.example.org:443 denied: host_not_listed (no rule names it)',
    ],
    [
      SAMPLES['supervisor-stopped'][0],
      '2026-01-02T03:04:05.678Z LIFE    info sandbox ended: the command ended',
    ],
  ])('%#', (fact, line) => expect(linesOf(fact)).toEqual([line]));

  it('colours by severity, when asked', () => {
    const [plain] = linesOf(SAMPLES['connection-denied'][0]);
    expect(linesOf(SAMPLES['connection-denied'][0], true)).toEqual([`\u001b[33m${plain}\u001b[0m`]);
    expect(linesOf(SAMPLES['internal-error'][0], true)[0]?.startsWith('\u001b[31m')).toBe(true);
  });

  it('quotes a name with blanks, so that it stays one field', () => {
    const identity = { ...IDENTITY, executable: '/tmp/x[1] [rule items] "ok"' };
    const [line] = linesOf({ ...SAMPLES['connection-allowed'][0], identity });
    expect(line).toContain(`"/tmp/x[1] [rule items] \\"ok\\"[58]" [rule items] api`);
  });
});

/** What ends a line somewhere, moves a cursor, or changes the direction of what follows. */
const FORBIDDEN = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}\ufeff]/u;
const FORGERIES = [
  'x\n2026-01-02T03:04:05.678Z NET     info ALLOWED /usr/bin/curl[58] evil.example:443 allowed by items',
  'x\r\u001b[2K2026 ALLOWED',
  '\u001b]0;title\u0007',
  '\u009b31m',
  '\u202eDEWOLLA\u2066',
  'a\u2028b\u2029c\u0085d\u000be\u000cf',
  '\ud800',
  '\u0000',
];

/** A small generator with a seed (mulberry32), so that a failure comes again. */
function randomTexts(seed: number, count: number): string[] {
  let state = seed;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const unit = () => Math.floor(random() * (random() < 0.5 ? 0xa0 : random() < 0.5 ? 0x2070 : 0xffff));
  return Array.from({ length: count }, () =>
    String.fromCharCode(...Array.from({ length: 1 + Math.floor(random() * 40) }, unit)),
  );
}

describe('no text can forge a line, or speak to the terminal', () => {
  it.each([...FORGERIES, ...randomTexts(20_260_102, 40)].map((text) => [JSON.stringify(text), text]))(
    '%s',
    (_, text) => {
      const facts = [...ALL_FACTS, { ...SAMPLES['connection-denied'][0], intent: request(text, text) }];
      for (const fact of facts) {
        for (const line of linesOf(poisoned(fact, text))) {
          expect(line).not.toMatch(FORBIDDEN);
          expect(line.length).toBeLessThan(1500);
        }
      }
    },
  );
});
