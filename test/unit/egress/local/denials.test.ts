import { expect, test } from 'vitest';
import type { AuditFact } from '../../../../src/audit/event.ts';
import { EGRESS_LIMITS } from '../../../../src/egress/limits.ts';
import { createDenialBook, generalPath } from '../../../../src/egress/local/denials.ts';
import { IDENTITY, request } from '../../audit/facts.ts';

function denied(host: string, path = '/'): AuditFact {
  const intent = { ...request('GET', path), host };
  return {
    kind: 'connection-denied',
    intent,
    identity: IDENTITY,
    reason: 'host_not_listed',
    detail: '',
    rule: undefined,
  };
}

test('a flood of names costs bounded memory, and is one fact', () => {
  const told: AuditFact[] = [];
  const book = createDenialBook(
    (fact) => fact.kind === 'denials-counted' && told.push(fact),
    EGRESS_LIMITS,
    () => 5,
  );
  const before = process.memoryUsage().heapUsed;
  for (let index = 0; index < 300_000; index += 1) book.report(denied(`n${index}.test`, `/${index}`));
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(50 * 1024 * 1024);
  for (let index = 0; index < 9; index += 1) book.report(denied('n3.test', `/x${index}`));
  expect(book.recent(1000)).toHaveLength(EGRESS_LIMITS.recentDenials);
  book.flush();
  book.flush();
  expect(told).toMatchObject([{ total: 300_009, unlisted: 300_009 - 10 - 15, since: 5 }]);
  const [fact] = told;
  if (fact?.kind !== 'denials-counted') throw new Error('no count');
  expect(fact.denials).toHaveLength(EGRESS_LIMITS.listedDenials);
  expect(fact.denials[0]).toMatchObject({ host: 'n3.test', count: 10 });
  expect(fact.denials[0]?.requests).toHaveLength(EGRESS_LIMITS.denialRequests);
});

test('facts about other things pass', () => {
  const told: AuditFact[] = [];
  const book = createDenialBook((fact) => told.push(fact), EGRESS_LIMITS);
  const fact = { kind: 'internal-error', where: 'x', message: 'y' } as const;
  book.report(fact);
  book.flush();
  expect(told).toEqual([fact]);
  expect(book.recent(10)).toEqual([]);
});

test.each([
  ['/repos/o/r/issues', '/repos/o/r/issues'],
  ['/repos/o/r/issues/42', '/repos/o/r/issues/*'],
  ['/u/0b7f1c5e-6b2d-4c8a-9f31-2d5b8e0a1c74/x', '/u/*/x'],
  ['/a/**', '/a/*'],
  ['/a/{b,c}', '/a/*'],
  ['/a/[b]?', '/a/*'],
  [`/a/${'x'.repeat(41)}`, '/a/*'],
  ['/%2e%2e/x', '/*/x'],
  ['/', '/'],
])('%s is told as %s', (path, general) => {
  expect(generalPath(path)).toBe(general);
});
