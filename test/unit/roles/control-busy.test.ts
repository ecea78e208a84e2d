/** Both ends of the control wire, with a process role that is honest and has more to tell than the log takes at once. */
import { expect, test, vi } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import type { IdentityResult } from '../../../src/egress/stages.ts';
import { FACT_BURST_BYTES } from '../../../src/roles/control/bounds.ts';
import { greet } from '../../../src/roles/control/greet.ts';
import {
  CONTROL_VERSION,
  type FromProcessRole,
  type FromSidecar,
} from '../../../src/roles/control/message.ts';
import { parseFromProcessRole, parseFromSidecar } from '../../../src/roles/control/parse.ts';
import { openProcessEnd } from '../../../src/roles/control/process-end.ts';
import { openSidecarEnd } from '../../../src/roles/control/sidecar-end.ts';
import { usePairs } from './pairs.ts';
import { CONTAINER_POLICY, FLOW, IDENTITY, KNOWN, PROCESS_HELLO, SETUP } from './wire-parts.ts';

const pair = usePairs();
const { parts, binaries } = CONTAINER_POLICY;
const UID = 1500;
const FACT = { kind: 'internal-error', where: 'a', message: 'b'.repeat(100) } as const;

type HelloOf<Message> = Extract<Message, { readonly type: 'hello' }>;

/** Both ends, as far as the command runs. */
async function joined() {
  const [ours, theirs] = pair();
  const hello = { type: 'hello', role: 'network', version: CONTROL_VERSION, pid: 1, uid: 0 } as const;
  const [toRole, toSidecar] = await Promise.all([
    greet(
      ours,
      parseFromProcessRole,
      (message): message is HelloOf<FromProcessRole> => message.type === 'hello',
      hello,
    ),
    greet(
      theirs,
      parseFromSidecar,
      (message): message is HelloOf<FromSidecar> => message.type === 'hello',
      PROCESS_HELLO,
    ),
  ]);
  const facts: AuditFact[] = [];
  const peer = { pid: 7, uid: UID, gid: UID };
  const setup = { ...SETUP, policy: { parts, binaries } };
  const sidecar = openSidecarEnd({ ...toRole, peer }, setup, (fact) => facts.push(fact));
  const role = openProcessEnd(toSidecar, {
    identify: async () => ({ ok: true, identity: IDENTITY }),
    followLinks: async () => ({}),
    onStop: () => {},
  });
  await sidecar.prepared;
  sidecar.begin();
  await role.begun;
  role.ready();
  await sidecar.ready;
  return { facts, role, sidecar };
}

test('who waits while facts find no room is answered, loses none of them, and has its end on record', async () => {
  const { facts, role, sidecar } = await joined();
  const large = { ...FACT, message: 'c'.repeat(16_000) };
  let told = 0;
  for (; told * large.message.length < FACT_BURST_BYTES; told += 1) {
    await role.congestion();
    role.report(large);
  }
  // From here on the log takes what comes no faster than it may: many small ones wait.
  await vi.waitFor(() => expect(facts).toHaveLength(told), 10_000);
  let answer: IdentityResult | undefined;
  const ask = async (): Promise<void> => {
    answer = await sidecar.identify(FLOW);
  };
  let isAsked = false;
  while (answer === undefined) {
    const room = role.congestion();
    if (room !== undefined && !isAsked) {
      isAsked = true;
      void ask();
    }
    await room;
    role.report(FACT);
    told += 1;
    if (told % 100 === 0) await new Promise(setImmediate);
  }
  expect(answer).toEqual(KNOWN);
  const concluded = role.end(0, 'over');
  expect(await sidecar.ended).toMatchObject({ reason: 'over' });
  expect(facts.filter(({ kind }) => kind === FACT.kind).length).toBeGreaterThanOrEqual(told);
  sidecar.confirm();
  await concluded;
}, 30_000);
