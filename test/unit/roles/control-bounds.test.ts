/** What a process role that the agent has taken over can make the sidecar keep, write and wait for. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import { openChannel, roleLost } from '../../../src/roles/channel.ts';
import {
  FACT_BURST_BYTES,
  FACT_BYTES_PER_SECOND,
  FROM_PROCESS_ROLE_BOUNDS,
  FROM_SIDECAR_BOUNDS,
  largestFrame,
  MAX_CONTROL_FRAME_BYTES,
  RECORD_BYTES,
} from '../../../src/roles/control/bounds.ts';
import type { FromProcessRole, FromSidecar } from '../../../src/roles/control/message.ts';
import { parseFromProcessRole } from '../../../src/roles/control/parse.ts';
import { FROM_PROCESS_ROLE, FROM_SIDECAR } from '../../../src/roles/control/phase.ts';
import { openSidecarEnd } from '../../../src/roles/control/sidecar-end.ts';
import { createBudget } from '../../../src/roles/control/take-facts.ts';
import { readSource } from '../../architecture/sources.ts';
import { frame, lengthOf, usePairs } from './pairs.ts';
import { CONTAINER_POLICY, FLOW, KNOWN, SETUP } from './wire-parts.ts';

const UID = 1500;
const { parts, binaries } = CONTAINER_POLICY;
const pair = usePairs();
afterEach(() => vi.useRealTimers());

function sidecar() {
  const [ours, theirs] = pair();
  const facts: AuditFact[] = [];
  const channel = openChannel<FromSidecar, FromProcessRole>(ours, parseFromProcessRole, {
    maxFrameBytes: MAX_CONTROL_FRAME_BYTES,
  });
  const end = openSidecarEnd(
    { channel, messages: channel.messages(), peer: { pid: 7, uid: UID, gid: UID } },
    { ...SETUP, policy: { parts, binaries } },
    (fact) => facts.push(fact),
  );
  const say = (message: unknown) => theirs.write(frame(message));
  return { end, facts, say, socket: theirs, ours };
}

const APPLIED = { type: 'policy-applied', generation: 1, targets: {} } as const;
const FACT = { type: 'fact', fact: { kind: 'internal-error', where: 'a', message: 'b' } } as const;
const IDENTIFIED = {
  type: 'fact',
  fact: { kind: 'identity-resolved', user: 'sandbox', uid: UID, gid: UID, source: 'policy' },
} as const;

describe('the table of ARCHITECTURE.md', () => {
  const rows = [
    ...rowsOf('process role', FROM_PROCESS_ROLE_BOUNDS, FROM_PROCESS_ROLE),
    ...rowsOf('sidecar', FROM_SIDECAR_BOUNDS, FROM_SIDECAR),
  ];
  test.each(rows)('%s', (row) => {
    expect(readSource('ARCHITECTURE.md')).toContain(`\n${row}\n`);
  });

  function rowsOf(
    sender: string,
    bounds: Readonly<Record<string, { readonly bytes: number; readonly times: string }>>,
    table: Readonly<Record<string, object>>,
  ): string[] {
    return Object.entries(bounds).map(([type, { bytes, times }]) => {
      const phases = Object.keys(table).filter((phase) => Object.hasOwn(table[phase] ?? {}, type));
      const size =
        bytes < 1024 ? `${bytes} B` : bytes < 2 ** 20 ? `${bytes / 1024} KiB` : `${bytes / 2 ** 20} MiB`;
      return `| ${sender} | \`${type}\` | ${size} | ${times} | ${phases.join(', ')} |`;
    });
  }
});

describe('what ends the wire', () => {
  test.each<[string, readonly unknown[], string]>([
    ['an answer to no question', [{ type: 'answer', id: 1, result: KNOWN }], 'answers what nobody asked'],
    [
      'a policy that was not given',
      [{ ...APPLIED, generation: 2 }],
      'applies policy 2, which it was not given',
    ],
    ['the same policy twice', [APPLIED, APPLIED], 'applies policy 1, which it was not given'],
    ['a command before it may run', [APPLIED, { type: 'ready' }], 'sent ready in phase starting'],
    ['a second name of the user', [IDENTIFIED, IDENTIFIED], 'tells identity-resolved twice'],
    [
      'two ends',
      [
        { type: 'ended', exitCode: 0, reason: '' },
        { type: 'ended', exitCode: 1, reason: '' },
      ],
      'too large',
    ],
    ['a number that is none', ['{"type":"policy-applied","generation":1e999,"targets":{}}'], 'malformed'],
    [
      'a number beyond all',
      ['{"type":"answer","id":99999999999999999999,"result":{"ok":false,"reason":""}}'],
      '',
    ],
    [
      'another prototype',
      ['{"type":"fact","fact":{"__proto__":{"kind":"internal-error"},"where":"","message":""}}'],
      'malformed',
    ],
    ['a text in the place of a message', ['"\\ud800"'], 'malformed'],
    [
      'a word as long as a fact',
      [`{"type":"answer","id":1,"result":{"ok":false,"reason":""}}${' '.repeat(300_000)}`],
      'sent answer of 30005',
    ],
    ['lists without end', [`${'['.repeat(100_000)}`], 'malformed'],
  ])('%s', async (_, said, message) => {
    const { end, say } = sidecar();
    for (const one of said) say(one);
    expect(await end.closed).toMatchObject({ code: 'role_lost', message: expect.stringContaining(message) });
  });

  test('more answers than questions', async () => {
    const { end, say } = sidecar();
    const asked = end.identify(FLOW);
    for (let count = 0; count < 2; count += 1) say({ type: 'answer', id: 1, result: KNOWN });
    expect(await asked).toEqual(KNOWN);
    expect(await end.closed).toMatchObject({ message: expect.stringContaining('nobody asked') });
  });

  test('an answer that comes too late is none, and ends nothing', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { end, facts, say } = sidecar();
    const asked = end.identify(FLOW);
    await vi.advanceTimersByTimeAsync(4000);
    expect(await asked).toMatchObject({ ok: false });
    say({ type: 'answer', id: 1, result: KNOWN });
    say(FACT);
    await vi.waitFor(() => expect(facts).toHaveLength(1));
  });
});

describe('the size of a frame', () => {
  const { bytes: factBytes } = FROM_PROCESS_ROLE_BOUNDS.fact;
  const { bytes: targetBytes } = FROM_PROCESS_ROLE_BOUNDS['policy-applied'];
  test.each<[string, readonly unknown[], number, boolean]>([
    ['while a policy is to be applied', [], targetBytes, true],
    ['beyond it', [], targetBytes + 1, false],
    ['afterwards', [APPLIED], factBytes + 1, false],
    ['a fact’s', [APPLIED], factBytes, true],
    ['after the end', [APPLIED, { type: 'ended', exitCode: 0, reason: '' }], 1, false],
  ])('%s', async (_, said, size, isTaken) => {
    const { end, facts, say, socket } = sidecar();
    say(FACT);
    for (const one of said) say(one);
    socket.write(lengthOf(size));
    if (!isTaken)
      return expect(await end.closed).toMatchObject({ message: expect.stringContaining('too large') });
    // Half a frame for ever is silence: nothing else stops for it.
    socket.write('{');
    await vi.waitFor(() => expect(facts).toHaveLength(1));
    const late = end.identify(FLOW);
    socket.end();
    expect(await late).toMatchObject({ ok: false, reason: 'the process role is gone' });
    expect(await end.closed).toMatchObject({ message: expect.stringContaining('inside a message') });
  });

  test('the process role takes no more of the sidecar than a phase has use for', () => {
    const limit = (phase: 'hello' | 'starting' | 'running' | 'ended') =>
      largestFrame(FROM_SIDECAR_BOUNDS, FROM_SIDECAR, phase);
    expect(limit('hello')).toBe(4096);
    expect(limit('starting')).toBe(MAX_CONTROL_FRAME_BYTES);
    expect(limit('running')).toBe(MAX_CONTROL_FRAME_BYTES);
    expect(limit('ended')).toBe(0);
  });

  test('a frame that comes byte by byte does not keep what each byte came in', async () => {
    const [ours, theirs] = pair();
    const channel = openChannel<unknown, unknown>(ours, (value) => value);
    const first = channel.messages().next();
    const bytes = frame(JSON.stringify('x'.repeat(10_000)));
    for (const byte of bytes) {
      const chunk = Buffer.allocUnsafeSlow(64 * 1024).subarray(0, 1);
      chunk[0] = byte;
      ours.push(chunk);
      // What waits together is read as one.
      await new Promise(setImmediate);
    }
    // All of them would be 600 MiB.
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(300 * 2 ** 20);
    expect((await first).value).toBe('x'.repeat(10_000));
    theirs.destroy();
  });
});

describe('the budget of facts', () => {
  test.each<[string, readonly (readonly [at: number, bytes: number, waitMs: number])[]]>([
    [
      'a burst, and then the rate',
      [
        [0, 1000, 0],
        [0, 100, 1000],
        [1000, 100, 1000],
        [2000, 50, 500],
      ],
    ],
    [
      'what was not used is kept up to a burst',
      [
        [0, 1000, 0],
        [1_000_000, 1000, 0],
        [1_000_000, 1, 10],
      ],
    ],
    [
      'a clock that stands',
      [
        [0, 1001, 10],
        [0, 1, 20],
        [0, 1, 30],
      ],
    ],
  ])('%s', (_, steps) => {
    let now = 0;
    const budget = createBudget({ bytesPerSecond: 100, burstBytes: 1000 }, () => now);
    for (const [at, bytes, wait] of steps) {
      now = at;
      expect(budget(bytes)).toBeCloseTo(wait);
    }
  });

  test('a flood is recorded no faster than it may be, told of, and holds up nobody', async () => {
    const { end, facts, say, socket } = sidecar();
    say(APPLIED);
    await end.prepared;
    end.begin();
    say({ type: 'ready' });
    await end.ready;
    const began = performance.now();
    const block = Buffer.concat(Array(500).fill(frame(FACT)));
    const flood = (): void => {
      while (!socket.destroyed && socket.write(block));
      if (!socket.destroyed) socket.once('drain', flood);
    };
    flood();
    const cost = RECORD_BYTES + frame(FACT).length - 4;
    const burst = Math.floor(FACT_BURST_BYTES / cost);
    await vi.waitFor(() => expect(facts.length).toBeGreaterThan(burst), 20_000);
    // The sidecar's own words go out, and what it waits for has its end.
    const question = end.identify(FLOW);
    const policy = end.replacePolicy({ parts, binaries: ['/bin/other'] });
    policy.catch(() => {});
    expect(await question).toMatchObject({ ok: false, reason: expect.stringContaining('did not answer') });
    const seconds = (performance.now() - began) / 1000;
    const most = (FACT_BURST_BYTES + seconds * FACT_BYTES_PER_SECOND) / cost + 2;
    expect(facts.length).toBeLessThanOrEqual(most);
    socket.destroy();
    end.fail(roleLost('over'));
    await end.closed;
    await expect(policy).rejects.toMatchObject({ code: 'role_lost' });
    await vi.waitFor(() =>
      expect(facts.at(-1)).toMatchObject({
        where: 'control-wire',
        message: expect.stringMatching(/was made to wait after: \d+ internal-error$/),
      }),
    );
  }, 30_000);

  test('a role that reads nothing is lost before much is kept for it', async () => {
    const { end, ours } = sidecar();
    ours.removeAllListeners('drain');
    const large = Array.from({ length: 800 }, (_, index) => `/${index}${'p'.repeat(4000)}`);
    for (let round = 0; round < 6; round += 1)
      void end.replacePolicy({ parts, binaries: [...large, `/${round}`] }).catch(() => {});
    expect(ours.writableLength).toBeLessThanOrEqual(2 * MAX_CONTROL_FRAME_BYTES);
    expect(await end.closed).toMatchObject({ message: 'the other role stopped reading' });
  });
});
