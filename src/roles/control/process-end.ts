/** The control wire as the process role of a pod holds it. */
import type { AuditFact, Report } from '../../audit/event.ts';
import type { LookResult } from '../../egress/stages.ts';
import { CastellanError } from '../../errors.ts';
import type { Identifier } from '../../kernel/procfs.ts';
import { changedStaticParts } from '../../policy/static-parts.ts';
import { createAnswerer } from '../answer.ts';
import { roleLost } from '../channel.ts';
import { keepPhase } from '../phase.ts';
import { FROM_PROCESS_ROLE_BOUNDS, FROM_SIDECAR_BOUNDS, largestFrame } from './bounds.ts';
import type { SidecarPeer } from './connect.ts';
import { fittedFact, isProcessFact } from './fact.ts';
import { converse } from './greet.ts';
import type {
  BinaryTargets,
  ContainerPolicy,
  FromProcessRole,
  FromSidecar,
  ProcessFact,
  Setup,
} from './message.ts';
import { FROM_SIDECAR } from './phase.ts';
import { type LimitedFacts, limitFacts } from './sums.ts';

export interface ProcessEnd {
  /** What to apply. Rejects when the sidecar is lost, or says nothing in time. */
  readonly setup: Promise<Setup>;
  /** Puts a fact into the sidecar's log. A wire that does not take it ends. */
  readonly report: Report;
  /** The command may run. Rejects when the sidecar is lost, or says nothing in time. */
  readonly begun: Promise<void>;
  /** Undefined while facts find room; else settles when those that wait are on their way, or the wire is gone. */
  congestion(): Promise<void> | undefined;
  /** The command runs. */
  ready(): void;
  /**
   * Nobody of the sandbox is left, and this is how it ended. Settles when it is on record.
   * @throws CastellanError `role_lost`, `timeout` where nobody confirmed it
   */
  end(exitCode: number, reason: string): Promise<void>;
  /** Settles when the wire is gone, also after end(); never rejects. */
  readonly closed: Promise<CastellanError>;
}

/** The sidecar sends the first with its greeting, and the second once the network role has a policy in force. */
const SETUP_DEADLINE_MS = 30_000;
/** It flushes its log first. */
const RECORD_DEADLINE_MS = 10_000;

export interface ProcessEndOptions {
  /** Where links lead, of those paths that are links here. */
  readonly followLinks: (paths: readonly string[]) => Promise<BinaryTargets>;
  readonly identify: Identifier;
  /** The sidecar asks for the end of the sandbox. */
  readonly onStop: () => void;
}

/** Serves the wire. Questions are answered from the setup on. */
export function openProcessEnd(
  { channel, messages }: SidecarPeer,
  { identify, followLinks, onStop }: ProcessEndOptions,
): ProcessEnd {
  const phases = keepPhase(FROM_SIDECAR);
  phases.receive('hello');
  channel.limitFrames(() => largestFrame(FROM_SIDECAR_BOUNDS, FROM_SIDECAR, phases.phase));
  const setup = Promise.withResolvers<Setup>();
  const begun = Promise.withResolvers<void>();
  const recorded = Promise.withResolvers<void>();
  let inForce: Setup['policy'] | undefined;
  // After the end nobody of the sandbox is left to tell of, and the sidecar takes nothing more: a question may cross with it.
  const say = (message: FromProcessRole): void => {
    if (phases.phase !== 'stopping' && phases.phase !== 'ended') channel.send(message);
  };
  const answer = createAnswerer(identify, (id, result) => say(fittedAnswer(id, result)));
  const apply = async (policy: ContainerPolicy): Promise<void> => {
    inForce = policy;
    const targets = fittedTargets(await followLinks(policy.binaries));
    say({ type: 'policy-applied', generation: policy.generation, targets });
  };
  const receive = async (message: FromSidecar): Promise<void> => {
    switch (message.type) {
      case 'hello':
        return;
      case 'setup':
        setup.resolve(message);
        return apply(message.policy);
      case 'begin':
        return begun.resolve();
      case 'policy':
        refuseChange(inForce, message);
        return apply(message);
      case 'identify':
        return answer(message.id, message.flow);
      case 'stop':
        return onStop();
      case 'recorded':
        return recorded.resolve();
    }
  };
  const late = setTimeout(
    () => channel.fail(roleLost('the sidecar did not say what to apply in time')),
    SETUP_DEADLINE_MS,
  );
  const serve = async (): Promise<void> => {
    await converse({ channel, messages }, { phases, bounds: FROM_SIDECAR_BOUNDS, receive });
    const reason = await channel.closed;
    tellSums();
    for (const waiting of [setup, begun, recorded]) waiting.reject(reason);
  };
  for (const { promise } of [setup, begun, recorded]) promise.catch(() => {});
  void Promise.allSettled([setup.promise, begun.promise]).then(() => clearTimeout(late));
  void serve();
  const tell: Report = (fact) => say({ type: 'fact', fact: fittedFact(ownFact(fact)) });
  const limited: ReadonlyMap<AuditFact['kind'], LimitedFacts> = new Map([
    ['ssh-refused', limitFacts(tell, MAX_REFUSALS)],
    ['ssh-forward-refused', limitFacts(tell, MAX_FORWARD_REFUSALS)],
  ]);
  const tellSums = (): void => {
    for (const facts of limited.values()) facts.tell();
  };
  return {
    setup: setup.promise,
    begun: begun.promise,
    closed: channel.closed,
    congestion: channel.congestion,
    report: (fact) => (limited.get(fact.kind)?.report ?? tell)(fact),
    ready: () => say({ type: 'ready' }),
    async end(exitCode, reason) {
      tellSums();
      channel.send({ type: 'ended', exitCode, reason: reason.slice(0, MAX_REASON) });
      phases.enter('stopping');
      const timer = setTimeout(
        () =>
          recorded.reject(
            new CastellanError('timeout', 'the sidecar did not put the end on record in time', {
              step: 'control-wire',
            }),
          ),
        RECORD_DEADLINE_MS,
      );
      try {
        await recorded.promise;
      } finally {
        clearTimeout(timer);
        channel.close();
      }
    },
  };
}

const MAX_REASON = 1024;
/** In an interval: the agent finds the socket of sessions, and is refused as often as it likes. */
const MAX_REFUSALS = 32;
/** Nothing is launched for them, and so nothing slows down a client that asks again and again. */
const MAX_FORWARD_REFUSALS = 1000;

/** What the sidecar takes from here. */
function ownFact(fact: AuditFact): ProcessFact {
  if (isProcessFact(fact)) return fact;
  return {
    kind: 'internal-error',
    where: 'control-wire',
    message: `a fact of kind ${fact.kind} is not ours`,
  };
}

type Answer = Extract<FromProcessRole, { readonly type: 'answer' }>;

/** Programs choose their names and those of their ancestors: a longer answer must not end the wire. */
function fittedAnswer(id: number, result: LookResult): Answer {
  const answer: Answer = { type: 'answer', id, result };
  if (jsonBytes(answer) <= FROM_PROCESS_ROLE_BOUNDS.answer.bytes) return answer;
  return {
    type: 'answer',
    id,
    result: { ok: false, reason: 'the names of its programs are too long to be told' },
  };
}

/** Those that find room: without its target, what a rule names as a link has no right. */
function fittedTargets(targets: BinaryTargets): BinaryTargets {
  let left = FROM_PROCESS_ROLE_BOUNDS['policy-applied'].bytes - FRAME_OF_TARGETS_BYTES;
  const told = Object.entries(targets).filter((entry) => {
    left -= jsonBytes(entry);
    return left >= 0;
  });
  return Object.fromEntries(told);
}

/** Everything of the message but its targets. */
const FRAME_OF_TARGETS_BYTES = 256;

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/** As in one container: what is applied when a process starts cannot change during a run, and nothing may go back. */
function refuseChange(before: Setup['policy'] | undefined, after: Setup['policy']): void {
  if (before === undefined || after.generation <= before.generation)
    throw roleLost(`policy ${after.generation} came after ${before?.generation ?? 'nothing'}`);
  const changed = changedStaticParts(before.parts, after.parts);
  if (changed.length > 0) throw roleLost(`policy ${after.generation} changes ${changed.join(', ')}`);
}
