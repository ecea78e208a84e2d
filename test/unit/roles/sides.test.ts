import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, expect, test, vi } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import type { IdentityResult } from '../../../src/egress/stages.ts';
import { createAnswerer } from '../../../src/roles/answer.ts';
import { createAsker } from '../../../src/roles/ask.ts';
import { openChannel } from '../../../src/roles/channel.ts';
import { type ToNetworkRole, WIRE_VERSION } from '../../../src/roles/message.ts';
import { parseToNetworkRole } from '../../../src/roles/parse.ts';
import { openProcessSide } from '../../../src/roles/process-side.ts';
import { FLOW, KNOWN } from './wire-parts.ts';

describe('questions', () => {
  test('answers find their questions, in any order and once', async () => {
    const sent: number[] = [];
    const asker = createAsker((id) => sent.push(id));
    const [first, second] = [asker.identify(FLOW), asker.identify(FLOW)];
    asker.settle(sent[1] ?? 0, { ok: false, reason: 'second' });
    asker.settle(sent[0] ?? 0, KNOWN);
    asker.settle(sent[0] ?? 0, { ok: false, reason: 'late' });
    expect(await Promise.all([first, second])).toEqual([KNOWN, { ok: false, reason: 'second' }]);
  });

  test('no answer, too many questions, and the end are unknown identities', async () => {
    vi.useFakeTimers();
    try {
      const asker = createAsker(() => {}, { deadlineMs: 5000, maxOutstanding: 2 });
      const late = asker.identify(FLOW);
      await vi.advanceTimersByTimeAsync(5000);
      expect(await late).toEqual({ ok: false, reason: 'the process role did not answer within 5000 ms' });
      const open = [asker.identify(FLOW), asker.identify(FLOW)];
      expect(await asker.identify(FLOW)).toMatchObject({
        ok: false,
        reason: expect.stringContaining('too many'),
      });
      asker.end('gone');
      expect(await Promise.all(open)).toEqual([
        { ok: false, reason: 'gone' },
        { ok: false, reason: 'gone' },
      ]);
      expect(await asker.identify(FLOW)).toEqual({ ok: false, reason: 'gone' });
    } finally {
      vi.useRealTimers();
    }
  });

  test('answers are limited: a question waits for a place, and a failure is an answer', async () => {
    const gates = Array.from({ length: 3 }, () => Promise.withResolvers<IdentityResult>());
    let started = 0;
    const sent: [number, IdentityResult][] = [];
    const answer = createAnswerer(
      () => (gates[started++] ?? Promise.withResolvers<IdentityResult>()).promise,
      (id, result) => sent.push([id, result]),
      { maxConcurrent: 2 },
    );
    await answer(1, FLOW);
    await answer(2, FLOW);
    const third = answer(3, FLOW);
    expect(started).toBe(2);
    gates[1]?.reject(new Error('proc is gone'));
    await third;
    expect(started).toBe(3);
    expect(sent).toEqual([[2, { ok: false, reason: 'proc is gone' }]]);
  });
});

const FIGURES = {
  ...{
    cpuSeconds: 1.5,
    residentBytes: 1,
    heapBytes: 1,
    openDescriptors: 9,
    lagP99Seconds: 0,
    lagMaxSeconds: 0,
  },
  ...{ clients: 2, splicedTunnels: 0, liveArriving: 0, liveUnread: 0, liveOpened: 0, liveRequests: 0 },
  ...{ lookupsRunning: 0, lookupsWaiting: 0, namesRemembered: 0, identificationsWaiting: 0 },
};

describe('the process role’s side', () => {
  /** Both ends of a wire in memory. */
  function pair(): [Socket, Socket] {
    const ends: Duplex[] = [];
    const make = (other: () => Duplex | undefined) =>
      new Duplex({
        read() {},
        write(chunk, _encoding, done) {
          other()?.push(chunk);
          done();
        },
        destroy(error, done) {
          queueMicrotask(() => other()?.push(null));
          done(error);
        },
      });
    ends.push(
      make(() => ends[1]),
      make(() => ends[0]),
    );
    for (const end of ends) Object.assign(end, { destroySoon: () => end.end(() => end.destroy()) });
    return ends as unknown as [Socket, Socket];
  }

  function sides() {
    const [ours, theirs] = pair();
    const facts: AuditFact[] = [];
    const side = openProcessSide(ours, { report: (fact) => facts.push(fact) });
    const role = openChannel<unknown, ToNetworkRole>(theirs, parseToNetworkRole);
    const listeners = { proxy: [0], transparent: [1], dnsUdp: [2], dnsTcp: [3], nflog: 4 };
    const serve = () =>
      side.serve({
        listeners,
        secrets: {},
        rules: [],
        mayChange: true,
        takesProposals: false,
        identify: async () => KNOWN,
      });
    return { side, serve, facts, role, messages: role.messages() };
  }

  test('a later policy has a later number, and settles with what it closed', async () => {
    const { side, serve, role, messages } = sides();
    await expect(side.replacePolicy([])).rejects.toMatchObject({ code: 'role_lost' });
    const ready = serve();
    role.send({ type: 'hello', version: WIRE_VERSION, pid: 1 });
    await messages.next();
    role.send({ type: 'ready' });
    await ready;
    const [second, third] = [side.replacePolicy([]), side.replacePolicy([])];
    expect((await messages.next()).value).toEqual({ type: 'policy', generation: 2, rules: [] });
    expect((await messages.next()).value).toEqual({ type: 'policy', generation: 3, rules: [] });
    role.send({ type: 'policy-applied', generation: 3, closed: 5 });
    role.send({ type: 'policy-applied', generation: 2, closed: 1 });
    expect(await Promise.all([second, third])).toEqual([1, 5]);
    const [fourth, fifth] = [side.replacePolicy([]), side.replacePolicy([])];
    role.send({ type: 'policy-applied', generation: 4, closed: 2 });
    expect(await fourth).toBe(2);
    role.send({ type: 'policy-applied', generation: 5, closed: 3 });
    expect(await fifth).toBe(3);
    const lost = side.replacePolicy([]);
    role.close();
    await expect(lost).rejects.toMatchObject({ code: 'role_lost' });
  });

  test('after hello the policy is sent, questions are answered, facts are passed on, stop ends it', async () => {
    const { side, serve, facts, role, messages } = sides();
    role.send({ type: 'hello', version: WIRE_VERSION, pid: 1 });
    const ready = serve();
    expect((await messages.next()).value).toMatchObject({
      type: 'start',
      policy: { generation: 1, rules: [], mayChange: true },
    });
    role.send({ type: 'ready' });
    await ready;
    role.send({ type: 'identify', id: 9, flow: FLOW });
    expect((await messages.next()).value).toEqual({ type: 'answer', id: 9, result: KNOWN });
    role.send({ type: 'fact', fact: { kind: 'internal-error', where: 'a', message: 'b' } });
    side.stop();
    expect((await messages.next()).value).toEqual({ type: 'stop' });
    role.send({ type: 'stopped' });
    await side.closed;
    expect(facts).toEqual([{ kind: 'internal-error', where: 'a', message: 'b' }]);
  });

  test('figures: one question at a time, and no answer is none', async () => {
    const { side, serve, role, messages } = sides();
    expect(await side.measure()).toBeUndefined();
    const ready = serve();
    role.send({ type: 'hello', version: WIRE_VERSION, pid: 1 });
    await messages.next();
    role.send({ type: 'ready' });
    await ready;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const both = [side.measure(), side.measure()];
      expect((await messages.next()).value).toEqual({ type: 'measure', id: 1 });
      await vi.advanceTimersByTimeAsync(2000);
      expect(await Promise.all(both)).toEqual([undefined, undefined]);
      const next = side.measure();
      expect((await messages.next()).value).toEqual({ type: 'measure', id: 2 });
      role.send({ type: 'figures', id: 1, figures: { ...FIGURES, clients: 1 } });
      role.send({ type: 'figures', id: 2, figures: FIGURES });
      role.send({ type: 'figures', id: 2, figures: { ...FIGURES, clients: 3 } });
      expect(await next).toEqual(FIGURES);
    } finally {
      vi.useRealTimers();
    }
    side.stop();
    expect(await side.measure()).toBeUndefined();
    role.close();
  });

  test.each([
    ['a word', { ...FIGURES, clients: 'many' }],
    ['less than none', { ...FIGURES, clients: -1 }],
    ['a name of its own', { ...FIGURES, evil: 1 }],
  ])('figures with %s lose the role', async (_, figures) => {
    const { side, serve, role, messages } = sides();
    const ready = serve();
    role.send({ type: 'hello', version: WIRE_VERSION, pid: 1 });
    await messages.next();
    role.send({ type: 'ready' });
    await ready;
    role.send({ type: 'figures', id: 1, figures });
    expect(await side.closed).toMatchObject({ message: expect.stringContaining('malformed') });
  });

  test('a stop before hello ends without a policy', async () => {
    const { side, role, messages } = sides();
    side.stop();
    expect((await messages.next()).value).toEqual({ type: 'stop' });
    role.send({ type: 'hello', version: WIRE_VERSION, pid: 1 });
    role.send({ type: 'stopped' });
    expect(await side.closed).toMatchObject({ message: 'the wire was closed' });
    expect((await messages.next()).done).toBe(true);
  });

  test('a stop before there is anything to serve ends without a policy, also who asks for one then', async () => {
    const { side, serve, role, messages } = sides();
    role.send({ type: 'hello', version: WIRE_VERSION, pid: 1 });
    side.stop();
    const ready = serve();
    expect((await messages.next()).value).toEqual({ type: 'stop' });
    role.send({ type: 'stopped' });
    await expect(ready).rejects.toMatchObject({ code: 'role_lost' });
    expect((await messages.next()).done).toBe(true);
  });

  const hello = { type: 'hello', version: WIRE_VERSION, pid: 1 };
  test.each<[string, unknown[], string]>([
    ['ready before there is anything to serve', [hello, { type: 'ready' }], 'ready in phase waiting'],
    ['a question before it', [hello, { type: 'identify', id: 1, flow: FLOW }], 'identify in phase waiting'],
    ['a second hello', [hello, hello], 'hello in phase waiting'],
  ])('%s loses the role, and whoever wants it to serve later is told', async (_name, said, message) => {
    const { side, serve, role } = sides();
    for (const one of said) role.send(one);
    expect(await side.closed).toMatchObject({ message: expect.stringContaining(message) });
    await expect(serve()).rejects.toMatchObject({ code: 'role_lost' });
  });

  test.each<[string, unknown[], string]>([
    ['ready before hello', [{ type: 'ready' }], 'ready in phase hello'],
    ['another version', [{ type: 'hello', version: 99, pid: 1 }], 'version 99'],
    ['a fatal error', [{ type: 'fatal', message: 'no\nway' }], 'no\\u{a}way'],
    [
      'a forged fact',
      [
        { type: 'hello', version: WIRE_VERSION, pid: 1 },
        { type: 'fact', fact: { kind: 'supervisor-ready', sshSocket: '', durationMs: 0 } },
      ],
      'malformed',
    ],
  ])('%s loses the role', async (_name, said, message) => {
    const { side, serve, role, facts } = sides();
    const ready = serve();
    for (const one of said) role.send(one);
    await expect(ready).rejects.toMatchObject({
      code: 'role_lost',
      message: expect.stringContaining(message),
    });
    expect(await side.closed).toMatchObject({ message: expect.stringContaining(message) });
    expect(facts).toEqual([]);
  });
});
