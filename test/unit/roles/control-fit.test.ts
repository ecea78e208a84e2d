/** What an honest process role tells fits into what the sidecar takes, whatever the agent makes it tell. */
import { describe, expect, test, vi } from 'vitest';
import { createChain } from '../../../src/audit/chain.ts';
import type { AuditFact } from '../../../src/audit/event.ts';
import { toOcsf } from '../../../src/audit/ocsf/to-ocsf.ts';
import { FACT_LIMITS } from '../../../src/policy/fact-limits.ts';
import { type Channel, openChannel } from '../../../src/roles/channel.ts';
import { FROM_PROCESS_ROLE_BOUNDS } from '../../../src/roles/control/bounds.ts';
import { fittedFact, isProcessFact } from '../../../src/roles/control/fact.ts';
import type { FromProcessRole, FromSidecar, ProcessFact } from '../../../src/roles/control/message.ts';
import { parseFromProcessRole, parseFromSidecar } from '../../../src/roles/control/parse.ts';
import { openProcessEnd } from '../../../src/roles/control/process-end.ts';
import { limitFacts } from '../../../src/roles/control/sums.ts';
import { ALL_FACTS, CONTEXT } from '../audit/facts.ts';
import { loadValidator } from '../audit/schema.ts';
import { frame, usePairs } from './pairs.ts';
import { FLOW, IDENTITY, SETUP } from './wire-parts.ts';

const UID = 1500;
const SESSION = { sessionId: 'ssh-1', peer: { pid: 1, uid: UID, gid: UID } };
const pair = usePairs();

/** As large as the schema lets any text be, of characters that JSON has to write in six bytes. */
function swollen(value: unknown): unknown {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return Array(300).fill('\u0001'.repeat(5000));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [
      key,
      [
        'reason',
        'remedy',
        'message',
        'where',
        'step',
        'object',
        'path',
        'detail',
        'source',
        'sshSocket',
      ].includes(key)
        ? '\u0001'.repeat(FACT_LIMITS.text + 1)
        : swollen(each),
    ]),
  );
}

/** The largest numbers that the schema takes. */
function vast(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((each) => vast(each));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, vast(each, name)]));
  if (typeof value !== 'number') return value;
  const most = { durationMs: Number.MAX_VALUE, pid: 2 ** 31 - 1, exitCode: 255 };
  return Object.hasOwn(most, key)
    ? most[key as keyof typeof most]
    : key === 'uid'
      ? 2 ** 32 - 2
      : Number.MAX_SAFE_INTEGER;
}

test('numbers beyond all sense are recorded as valid events', async () => {
  const faultsOf = await loadValidator();
  const facts = ALL_FACTS.filter(isProcessFact).map((fact) => vast(fact) as ProcessFact);
  let taken = 0;
  for (const fact of facts) {
    try {
      parseFromProcessRole({ type: 'fact', fact });
    } catch {
      continue;
    }
    taken += 1;
    let sequence = 1;
    for (const event of toOcsf(fact, () => ({ time: 1_795_460_536_928, sequence: sequence++ }), CONTEXT))
      expect(faultsOf(createChain(CONTEXT.bootId).append(event)), JSON.stringify(event)).toEqual([]);
  }
  expect(taken).toBeGreaterThan(18);
});

describe('what the process role tells fits', () => {
  const kinds = Object.groupBy(ALL_FACTS, ({ kind }) => kind);
  const swell = Object.values(kinds)
    .flatMap((samples) => samples?.slice(0, 1) ?? [])
    .map((fact) => [fact.kind, fittedFact(swollen(fact) as ProcessFact)] as const)
    .filter(([, fact]) => {
      try {
        parseFromProcessRole({ type: 'fact', fact });
        return true;
      } catch {
        return false;
      }
    });
  test('of nearly every kind', () => expect(swell.length).toBeGreaterThan(14));
  test.each(swell)('%s', (_, fact) => {
    expect(frame({ type: 'fact', fact }).length - 4).toBeLessThanOrEqual(FROM_PROCESS_ROLE_BOUNDS.fact.bytes);
  });

  function processRole(identity: object = IDENTITY, targets: Readonly<Record<string, string>> = {}) {
    const [ours, theirs] = pair();
    const channel = openChannel<FromProcessRole, FromSidecar>(ours, parseFromSidecar);
    const end = openProcessEnd(
      { channel, messages: channel.messages() },
      {
        identify: async () => ({ ok: true, identity: identity as typeof IDENTITY }),
        followLinks: async () => targets,
        onStop: () => {},
      },
    );
    const peer: Channel<unknown, FromProcessRole> = openChannel(theirs, parseFromProcessRole);
    const messages = peer.messages();
    return { end, peer, next: async () => (await messages.next()).value };
  }

  test('an identity with names too long is an unknown one', async () => {
    const path = `/${'\u0001'.repeat(FACT_LIMITS.path - 1)}`;
    const holder = { ...IDENTITY, ancestors: Array(64).fill(path), ancestorHashes: Array(64).fill('') };
    const { peer, next } = processRole(holder);
    peer.send({ type: 'setup', ...SETUP });
    await next();
    peer.send({ type: 'identify', id: 5, flow: FLOW });
    expect(await next()).toMatchObject({ type: 'answer', id: 5, result: { ok: false } });
  });

  test('of targets, as many as find room', async () => {
    const target = `/${'t'.repeat(4000)}`;
    const targets = Object.fromEntries(
      Array.from({ length: 2000 }, (_, index) => [`/link/${index}`, target]),
    );
    const { peer, next } = processRole(IDENTITY, targets);
    peer.send({ type: 'setup', ...SETUP });
    const applied = await next();
    const { bytes } = FROM_PROCESS_ROLE_BOUNDS['policy-applied'];
    const size = frame(applied).length - 4;
    expect(size).toBeLessThanOrEqual(bytes);
    expect(size).toBeGreaterThan(bytes - 10_000);
  });

  test('a question that crosses with the end is not answered: nothing may follow', async () => {
    const { end, peer, next } = processRole();
    peer.send({ type: 'setup', ...SETUP });
    await next();
    const ended = end.end(0, '');
    expect(await next()).toMatchObject({ type: 'ended' });
    peer.send({ type: 'identify', id: 1, flow: FLOW });
    peer.send({ type: 'recorded' });
    await ended;
    expect(await next()).toBeUndefined();
  });

  test.each<[string, AuditFact, number]>([
    ['the agent has', { kind: 'ssh-refused', ...SESSION, reason: 'inside' }, 32],
    [
      'a client’s program has',
      { kind: 'ssh-forward-refused', ...SESSION, target: 'a:1', why: 'prohibited', reason: 'outside' },
      1000,
    ],
  ])('refusals that %s without end are told singly up to a number', async (_, fact, most) => {
    const { end, next } = processRole();
    for (let count = 0; count < most + 968; count += 1) end.report(fact);
    void end.end(0, '').catch(() => {});
    const told: unknown[] = [];
    for (let message = await next(); message?.type === 'fact'; message = await next())
      told.push(message.fact);
    expect(told).toHaveLength(most + 1);
    expect(told.at(-1)).toMatchObject({
      message: `more came, and were not told one by one: 968 ${fact.kind}`,
    });
  });
});

test('a limit on facts begins anew after an interval', () => {
  vi.useFakeTimers();
  try {
    const facts: AuditFact[] = [];
    const limited = limitFacts((fact) => facts.push(fact), 2);
    const refused = {
      kind: 'ssh-refused',
      sessionId: 's',
      peer: { pid: 1, uid: 1, gid: 1 },
      reason: '',
    } as const;
    for (let count = 0; count < 5; count += 1) limited.report(refused);
    expect(facts).toHaveLength(2);
    vi.advanceTimersByTime(10_000);
    expect(facts).toHaveLength(3);
    limited.report(refused);
    expect(facts.at(-1)).toBe(refused);
  } finally {
    vi.useRealTimers();
  }
});
