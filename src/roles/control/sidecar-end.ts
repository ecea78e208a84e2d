/** The control wire as the sidecar holds it: says what to apply, asks who is behind a connection, takes the facts of the agent's container. */
import type { Report } from '../../audit/event.ts';
import type { Flow, IdentityResult } from '../../egress/stages.ts';
import type { CastellanError } from '../../errors.ts';
import { createAsker } from '../ask.ts';
import { roleLost } from '../channel.ts';
import { keepPhase } from '../phase.ts';
import { FROM_PROCESS_ROLE_BOUNDS, largestFrame } from './bounds.ts';
import { converse } from './greet.ts';
import type { ProcessPeer } from './listen.ts';
import type { BinaryTargets, ContainerPolicy, FromProcessRole, Setup } from './message.ts';
import { FROM_PROCESS_ROLE } from './phase.ts';
import { createFactTaker } from './take-facts.ts';

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
  /** Settles with where links of the first policy lead; rejects when the process role is lost. */
  readonly prepared: Promise<BinaryTargets>;
  /** Lets the command run. */
  begin(): void;
  /** For processes to come. Settles with where its links lead; rejects when the process role is lost. */
  replacePolicy(policy: Omit<ContainerPolicy, 'generation'>): Promise<BinaryTargets>;
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
/** A comparison of two small values, and a look at each path. */
const APPLY_DEADLINE_MS = 20_000;

/** Sends the setup and serves the wire. Facts go to `report` as they come. */
export function openSidecarEnd(
  { channel, messages, peer }: ProcessPeer,
  setup: Omit<Setup, 'policy'> & { readonly policy: Omit<ContainerPolicy, 'generation'> },
  report: Report,
): SidecarEnd {
  const phases = keepPhase(FROM_PROCESS_ROLE);
  phases.receive('hello');
  /** Questions that were not answered, those whose time is over included: nothing else bounds how many answers come. */
  let owed = 0;
  const asker = createAsker(
    (id, flow) => {
      owed += 1;
      channel.send({ type: 'identify', id, flow });
    },
    { deadlineMs: ANSWER_DEADLINE_MS },
  );
  const facts = createFactTaker(peer.uid, report);
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<ContainerEnding>();
  const applied = new Map<number, (targets: BinaryTargets) => void>();
  const takeTargets = (number: number, targets: BinaryTargets): void => {
    const resolve = applied.get(number);
    if (resolve === undefined)
      throw roleLost(`the process role applies policy ${number}, which it was not given`);
    applied.delete(number);
    resolve(targets);
  };
  channel.limitFrames(() =>
    largestFrame(FROM_PROCESS_ROLE_BOUNDS, FROM_PROCESS_ROLE, phases.phase, (type) => {
      if (type === 'policy-applied') return applied.size > 0;
      return type !== 'answer' || owed > 0;
    }),
  );
  let generation = 0;
  const receive = async (message: FromProcessRole, bytes: number): Promise<void> => {
    switch (message.type) {
      case 'hello':
        return;
      case 'ready':
        return ready.resolve();
      case 'policy-applied':
        return takeTargets(message.generation, message.targets);
      case 'answer':
        if (owed === 0) throw roleLost('the process role answers what nobody asked');
        owed -= 1;
        return asker.settle(message.id, message.result);
      case 'fact':
        return facts.take(message.fact, bytes);
      case 'ended':
        return ended.resolve(message);
    }
  };
  const serve = async (): Promise<void> => {
    await converse({ channel, messages }, { phases, bounds: FROM_PROCESS_ROLE_BOUNDS, receive });
    const reason = await channel.closed;
    facts.end();
    asker.end('the process role is gone');
    ready.reject(reason);
    ended.reject(reason);
  };
  ready.promise.catch(() => {});
  ended.promise.catch(() => {});
  /** Nobody knows what a process role applies that does not answer. */
  const apply = (
    policy: Omit<ContainerPolicy, 'generation'>,
    send: (numbered: ContainerPolicy) => void,
  ): Promise<BinaryTargets> => {
    generation += 1;
    const number = generation;
    const { promise, resolve, reject } = Promise.withResolvers<BinaryTargets>();
    applied.set(number, resolve);
    const late = setTimeout(
      () => channel.fail(roleLost('the process role did not take a policy in time')),
      APPLY_DEADLINE_MS,
    );
    void channel.closed.then(reject);
    send({ generation: number, ...policy });
    return promise.finally(() => clearTimeout(late));
  };
  const prepared = apply(setup.policy, (policy) => channel.send({ ...setup, type: 'setup', policy }));
  prepared.catch(() => {});
  void serve();
  return {
    ready: ready.promise,
    ended: ended.promise,
    closed: channel.closed,
    identify: asker.identify,
    prepared,
    begin() {
      if (phases.phase !== 'starting') return;
      phases.enter('waiting');
      channel.send({ type: 'begin' });
    },
    replacePolicy: (policy) => apply(policy, (numbered) => channel.send({ type: 'policy', ...numbered })),
    stop: () => channel.send({ type: 'stop' }),
    confirm() {
      channel.send({ type: 'recorded' });
      channel.close();
    },
    fail: channel.fail,
  };
}
