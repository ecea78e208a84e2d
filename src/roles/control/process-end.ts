/** The control wire as the process role of a pod holds it. */
import type { AuditFact, Report } from '../../audit/event.ts';
import { CastellanError } from '../../errors.ts';
import type { Identifier } from '../../kernel/procfs.ts';
import { changedStaticParts } from '../../policy/static-parts.ts';
import { createAnswerer } from '../answer.ts';
import { roleLost } from '../channel.ts';
import { keepPhase } from '../phase.ts';
import type { SidecarPeer } from './connect.ts';
import { fittedFact, isProcessFact } from './fact.ts';
import { converse } from './greet.ts';
import type { BinaryTargets, ContainerPolicy, FromSidecar, Setup } from './message.ts';
import { FROM_SIDECAR } from './phase.ts';

export interface ProcessEnd {
  /** What to apply. Rejects when the sidecar is lost, or says nothing in time. */
  readonly setup: Promise<Setup>;
  /** Puts a fact into the sidecar's log. A wire that does not take it ends. */
  readonly report: Report;
  /** The command may run. Rejects when the sidecar is lost, or says nothing in time. */
  readonly begun: Promise<void>;
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
  const setup = Promise.withResolvers<Setup>();
  const begun = Promise.withResolvers<void>();
  const recorded = Promise.withResolvers<void>();
  let inForce: Setup['policy'] | undefined;
  const answer = createAnswerer(identify, (id, result) => channel.send({ type: 'answer', id, result }));
  const apply = async (policy: ContainerPolicy): Promise<void> => {
    inForce = policy;
    const targets = await followLinks(policy.binaries);
    channel.send({ type: 'policy-applied', generation: policy.generation, targets });
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
    await converse({ channel, messages }, phases, receive);
    const reason = await channel.closed;
    for (const waiting of [setup, begun, recorded]) waiting.reject(reason);
  };
  for (const { promise } of [setup, begun, recorded]) promise.catch(() => {});
  void Promise.allSettled([setup.promise, begun.promise]).then(() => clearTimeout(late));
  void serve();
  return {
    setup: setup.promise,
    begun: begun.promise,
    closed: channel.closed,
    report: (fact: AuditFact) => {
      const told: AuditFact = isProcessFact(fact)
        ? fact
        : {
            kind: 'internal-error',
            where: 'control-wire',
            message: `a fact of kind ${fact.kind} is not ours`,
          };
      // After the end nobody of the sandbox is left to tell of.
      if (phases.phase !== 'stopping' && phases.phase !== 'ended')
        channel.send({ type: 'fact', fact: fittedFact(told) });
    },
    ready: () => channel.send({ type: 'ready' }),
    async end(exitCode, reason) {
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

/** As in one container: what is applied when a process starts cannot change during a run, and nothing may go back. */
function refuseChange(before: Setup['policy'] | undefined, after: Setup['policy']): void {
  if (before === undefined || after.generation <= before.generation)
    throw roleLost(`policy ${after.generation} came after ${before?.generation ?? 'nothing'}`);
  const changed = changedStaticParts(before.parts, after.parts);
  if (changed.length > 0) throw roleLost(`policy ${after.generation} changes ${changed.join(', ')}`);
}
