/** Both ends of the control wire of a pod, each with a peer that says what it likes. */
import { describe, expect, test, vi } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import { type Channel, openChannel } from '../../../src/roles/channel.ts';
import type { FromProcessRole, FromSidecar } from '../../../src/roles/control/message.ts';
import { parseFromProcessRole, parseFromSidecar } from '../../../src/roles/control/parse.ts';
import { openProcessEnd } from '../../../src/roles/control/process-end.ts';
import { openSidecarEnd } from '../../../src/roles/control/sidecar-end.ts';
import { SAMPLES } from '../audit/facts.ts';
import { frame, usePairs } from './pairs.ts';
import { CONTAINER_POLICY, FLOW, IDENTITY, KNOWN, SETUP } from './wire-parts.ts';

const pair = usePairs();

/** Takes messages one by one. */
function listener<Send, Receive>(channel: Channel<Send, Receive>) {
  const messages = channel.messages();
  return async (): Promise<Receive | undefined> => (await messages.next()).value ?? undefined;
}

const { parts, binaries } = CONTAINER_POLICY;
const UID = 1500;

describe('the sidecar’s end', () => {
  function open() {
    const [ours, theirs] = pair();
    const facts: AuditFact[] = [];
    const channel = openChannel<FromSidecar, FromProcessRole>(ours, parseFromProcessRole);
    const end = openSidecarEnd(
      { channel, messages: channel.messages(), peer: { pid: 7, uid: UID, gid: UID } },
      { ...SETUP, policy: { parts, binaries } },
      (fact) => facts.push(fact),
    );
    const role = openChannel<unknown, FromSidecar>(theirs, parseFromSidecar);
    return { end, facts, role, next: listener(role) };
  }
  const TARGETS = { '/usr/bin/python3': '/usr/bin/python3.13' };

  test('a setup, its answer, the command, facts, and an end that is confirmed', async () => {
    const { end, facts, role, next } = open();
    expect(await next()).toMatchObject({
      type: 'setup',
      proxyPort: 3128,
      policy: { generation: 1, binaries },
    });
    role.send({ type: 'policy-applied', generation: 1, targets: TARGETS });
    expect(await end.prepared).toEqual(TARGETS);
    end.begin();
    expect(await next()).toEqual({ type: 'begin' });
    const fact = { kind: 'internal-error', where: 'a', message: 'b' } as const;
    role.send({ type: 'fact', fact });
    role.send({ type: 'ready' });
    await end.ready;
    expect(facts).toEqual([fact]);
    role.send({ type: 'ended', exitCode: 3, reason: 'r' });
    expect(await end.ended).toMatchObject({ exitCode: 3, reason: 'r' });
    end.confirm();
    expect(await next()).toEqual({ type: 'recorded' });
    expect(await next()).toBeUndefined();
  });

  test('each policy goes over, the same one too, with a number that grows', async () => {
    const { end, role, next } = open();
    await next();
    role.send({ type: 'policy-applied', generation: 1, targets: TARGETS });
    const same = end.replacePolicy({ parts, binaries });
    expect(await next()).toMatchObject({ type: 'policy', generation: 2, binaries });
    role.send({ type: 'policy-applied', generation: 2, targets: TARGETS });
    expect(await same).toEqual(TARGETS);
    const changed = end.replacePolicy({ parts, binaries: ['/bin/sh'] });
    expect(await next()).toMatchObject({ type: 'policy', generation: 3, binaries: ['/bin/sh'] });
    role.send({ type: 'policy-applied', generation: 3, targets: {} });
    expect(await changed).toEqual({});
  });

  test('who does not apply a policy is lost', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const { end } = open();
      const prepared = expect(end.prepared).rejects.toMatchObject({ code: 'role_lost' });
      await vi.advanceTimersByTimeAsync(20_000);
      expect(await end.closed).toMatchObject({ message: expect.stringContaining('did not take a policy') });
      await prepared;
    } finally {
      vi.useRealTimers();
    }
  });

  test('questions are answered, and are nobody’s once the role is gone', async () => {
    const { end, role, next } = open();
    await next();
    const asked = end.identify(FLOW);
    expect(await next()).toMatchObject({ type: 'identify', id: 1, flow: FLOW });
    role.send({ type: 'answer', id: 1, result: KNOWN });
    expect(await asked).toEqual(KNOWN);
    const open_ = end.identify(FLOW);
    role.close();
    expect(await open_).toMatchObject({ ok: false, reason: 'the process role is gone' });
    await expect(end.ended).rejects.toMatchObject({ code: 'role_lost' });
  });

  const [launched] = SAMPLES['process-launched'];
  const process = { ...launched.process, uid: UID };
  test.each<[string, unknown[], string]>([
    [
      'a second hello',
      [{ type: 'hello', role: 'process', version: 1, pid: 1, uid: UID, pidNamespace: '', token: '' }],
      'sent hello',
    ],
    ['ready twice', [{ type: 'ready' }, { type: 'ready' }], 'sent ready'],
    [
      'a fact after the end',
      [
        { type: 'ended', exitCode: 0, reason: '' },
        { type: 'fact', fact: { ...launched, process } },
      ],
      'too large',
    ],
    ['a fact of the sidecar’s', [{ type: 'fact', fact: SAMPLES['policy-loaded'][0] }], 'malformed'],
    ['a process of another uid', [{ type: 'fact', fact: launched }], 'tells of uid'],
    [
      'another identity',
      [{ type: 'fact', fact: { kind: 'identity-resolved', user: 'x', uid: 5, gid: 5, source: '' } }],
      'tells of uid 5',
    ],
    [
      'everybody’s rights',
      [{ type: 'answer', id: 1, result: { ok: true, identity: 'any-program' } }],
      'malformed',
    ],
  ])('%s ends the wire, and is not written down', async (_, said, message) => {
    const { end, facts, role, next } = open();
    await next();
    for (const one of said) role.send(one);
    expect(await end.closed).toMatchObject({ code: 'role_lost', message: expect.stringContaining(message) });
    expect(facts).toEqual([]);
  });
});

describe('the process role’s end', () => {
  function open() {
    const [ours, theirs] = pair();
    const onStop = vi.fn();
    const channel = openChannel<FromProcessRole, FromSidecar>(ours, parseFromSidecar);
    const end = openProcessEnd(
      { channel, messages: channel.messages() },
      {
        identify: async () => ({ ok: true, identity: IDENTITY }),
        followLinks: async (paths) => Object.fromEntries(paths.map((path) => [path, '/target'])),
        onStop,
      },
    );
    const sidecar = openChannel<unknown, FromProcessRole>(theirs, parseFromProcessRole);
    return { end, onStop, sidecar, raw: theirs, next: listener(sidecar) };
  }
  const setup = { type: 'setup', ...SETUP };

  test('facts, questions, a stop, and an end that waits until it is on record', async () => {
    const { end, onStop, sidecar, next } = open();
    end.report({ kind: 'supervisor-started', mode: 'process-only', pid: 7 });
    expect(await next()).toMatchObject({ type: 'fact', fact: { kind: 'supervisor-started' } });
    sidecar.send(setup);
    expect(await end.setup).toMatchObject({ proxyPort: 3128 });
    expect(await next()).toEqual({
      type: 'policy-applied',
      generation: 1,
      targets: { '/usr/bin/python3': '/target' },
    });
    sidecar.send({ type: 'begin' });
    await end.begun;
    sidecar.send({ type: 'identify', id: 4, flow: FLOW });
    expect(await next()).toEqual({ type: 'answer', id: 4, result: KNOWN });
    sidecar.send({ type: 'stop' });
    const ended = end.end(9, 'r');
    expect(await next()).toEqual({ type: 'ended', exitCode: 9, reason: 'r' });
    sidecar.send({ type: 'recorded' });
    await ended;
    expect(onStop).toHaveBeenCalledOnce();
  });

  test('an end that nobody writes down is none', async () => {
    const { end, sidecar, next } = open();
    sidecar.send(setup);
    await next();
    const ended = end.end(0, '');
    sidecar.close();
    await expect(ended).rejects.toMatchObject({ code: 'role_lost' });
  });

  test('a fact that is not its own is told as what it is', async () => {
    const { end, next } = open();
    end.report(SAMPLES['policy-loaded'][0]);
    expect(await next()).toMatchObject({
      fact: { kind: 'internal-error', message: expect.stringContaining('policy-loaded') },
    });
  });

  test('a sidecar that says nothing is lost', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const { end } = open();
      const missed = expect(end.setup).rejects.toMatchObject({ code: 'role_lost' });
      await vi.advanceTimersByTimeAsync(30_000);
      await missed;
    } finally {
      vi.useRealTimers();
    }
  });

  test('a word that is longer than it can be ends the wire', async () => {
    const { end, raw } = open();
    raw.write(frame({ ...setup }));
    raw.write(frame(`{"type":"begin"}${' '.repeat(1000)}`));
    expect(await end.closed).toMatchObject({ message: 'the other end sent begin of 1016 bytes' });
    await expect(end.begun).rejects.toMatchObject({ code: 'role_lost' });
  });

  const policy = { type: 'policy', ...CONTAINER_POLICY };
  test.each<[string, unknown[], string]>([
    [
      'a question before the setup',
      [{ type: 'identify', id: 1, flow: FLOW }],
      'sent identify in phase starting',
    ],
    ['a second setup', [setup, setup], 'sent setup'],
    ['a beginning before the setup', [{ type: 'begin' }], 'sent begin'],
    ['a record of no end', [setup, { type: 'begin' }, { type: 'recorded' }], 'sent recorded'],
    ['an earlier policy', [setup, policy], 'policy 1 came after 1'],
    [
      'other static parts',
      [setup, { ...policy, generation: 2, parts: { ...parts, seccomp: { relax: [] } } }],
      'policy 2 changes seccomp',
    ],
    ['a fact', [{ type: 'fact', fact: { kind: 'internal-error', where: '', message: '' } }], 'malformed'],
  ])('%s ends the wire', async (_, said, message) => {
    const { end, sidecar } = open();
    for (const one of said) sidecar.send(one);
    expect(await end.closed).toMatchObject({ code: 'role_lost', message: expect.stringContaining(message) });
  });
});
