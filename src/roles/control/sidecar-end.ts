/** The control wire as the sidecar holds it: says what to apply, asks who is behind a connection, takes the facts of the agent's container. */
import { isDeepStrictEqual } from 'node:util';
import type { Report } from '../../audit/event.ts';
import type { Flow, IdentityResult } from '../../egress/stages.ts';
import type { CastellanError } from '../../errors.ts';
import { createAsker } from '../ask.ts';
import { roleLost } from '../channel.ts';
import { keepPhase } from '../phase.ts';
import { converse } from './greet.ts';
import type { ProcessPeer } from './listen.ts';
import type { ContainerPolicy, FromProcessRole, ProcessFact, Setup } from './message.ts';
import { FROM_PROCESS_ROLE } from './phase.ts';

/** How everything in the agent's container ended. */
export interface ContainerEnding {
  readonly exitCode: number;
  readonly reason: string;
}

export interface SidecarEnd {
  /** Settles when the command runs; rejects when the process role is lost before. */
  readonly ready: Promise<void>;
  /** Settles when everybody of the sandbox has ended; rejects when the process role is lost. */
  readonly ended: Promise<ContainerEnding>;
  /** Never rejects: no answer is an unknown identity. */
  identify(flow: Flow): Promise<IdentityResult>;
  /** For processes to come. Settles when it is taken; rejects when the process role is lost. */
  replacePolicy(policy: Omit<ContainerPolicy, 'generation'>): Promise<void>;
  /** Asks for the end of everybody of the sandbox. */
  stop(): void;
  /** The end is on record: lets the process role go. */
  confirm(): void;
  /** Closes the wire at once. */
  fail(reason: CastellanError): void;
  /** Settles when the wire is gone; never rejects. */
  readonly closed: Promise<CastellanError>;
}

/** Below the deadline of the network role's own question, so that this one gives the reason. */
const ANSWER_DEADLINE_MS = 4000;
/** A comparison of two small values. */
const APPLY_DEADLINE_MS = 5000;
const FIRST_GENERATION = 1;

/** Sends the setup and serves the wire. Facts go to `report` as they come. */
export function openSidecarEnd(
  { channel, messages, peer }: ProcessPeer,
  setup: Omit<Setup, 'policy'> & { readonly policy: Omit<ContainerPolicy, 'generation'> },
  report: Report,
): SidecarEnd {
  const phases = keepPhase(FROM_PROCESS_ROLE);
  phases.receive('hello');
  const asker = createAsker((id, flow) => channel.send({ type: 'identify', id, flow }), {
    deadlineMs: ANSWER_DEADLINE_MS,
  });
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<ContainerEnding>();
  const applied = new Map<number, () => void>();
  let generation = FIRST_GENERATION;
  let inForce = setup.policy;
  const receive = async (message: FromProcessRole): Promise<void> => {
    switch (message.type) {
      case 'hello':
        return;
      case 'ready':
        return ready.resolve();
      case 'policy-applied':
        return applied.get(message.generation)?.();
      case 'answer':
        return asker.settle(message.id, message.result);
      case 'fact':
        refuseOtherUid(message.fact, peer.uid);
        return report(message.fact);
      case 'ended':
        return ended.resolve(message);
    }
  };
  const serve = async (): Promise<void> => {
    await converse({ channel, messages }, phases, receive);
    const reason = await channel.closed;
    asker.end('the process role is gone');
    ready.reject(reason);
    ended.reject(reason);
  };
  ready.promise.catch(() => {});
  ended.promise.catch(() => {});
  channel.send({ ...setup, type: 'setup', policy: { ...setup.policy, generation } });
  void serve();
  return {
    ready: ready.promise,
    ended: ended.promise,
    closed: channel.closed,
    identify: asker.identify,
    async replacePolicy(policy) {
      if (isDeepStrictEqual(policy, inForce)) return;
      inForce = policy;
      generation += 1;
      const { promise, resolve } = Promise.withResolvers<void>();
      applied.set(generation, resolve);
      const late = setTimeout(
        () => channel.fail(roleLost('the process role did not take a policy in time')),
        APPLY_DEADLINE_MS,
      );
      channel.send({ type: 'policy', generation, ...policy });
      try {
        await Promise.race([promise, channel.closed.then((error) => Promise.reject(error))]);
      } finally {
        clearTimeout(late);
        applied.delete(generation);
      }
    },
    stop: () => channel.send({ type: 'stop' }),
    confirm() {
      channel.send({ type: 'recorded' });
      channel.close();
    },
    fail: channel.fail,
  };
}

/** Nothing in the agent's container can become somebody else: a fact that says so is made up. */
function refuseOtherUid(fact: ProcessFact, uid: number): void {
  const claimed = fact.kind === 'identity-resolved' ? fact.uid : 'process' in fact ? fact.process.uid : uid;
  if (claimed !== uid) throw roleLost(`the process role tells of uid ${claimed}, and is uid ${uid}`);
}
