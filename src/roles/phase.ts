/** Which message may come when. Anything else is a broken or hostile peer, and ends the wire. */
import { roleLost } from './channel.ts';
import type { ToNetworkRole, ToProcessRole } from './message.ts';

/** `hello` → `waiting` (it was said; there is nothing to serve yet) → `starting` (the policy was sent) → `running` → `stopping` → `ended`. */
export type Phase = 'hello' | 'waiting' | 'starting' | 'running' | 'stopping' | 'ended';

/** For each phase, the messages that may come in it and the phase each leads to. */
export type PhaseTable<Type extends string> = Readonly<Record<Phase, Partial<Readonly<Record<Type, Phase>>>>>;

/** What the process role accepts. Questions come before `ready`: the listeners are open a moment earlier. */
export const FROM_NETWORK_ROLE: PhaseTable<ToProcessRole['type']> = {
  hello: { hello: 'waiting', fatal: 'ended' },
  waiting: { fatal: 'ended' },
  starting: { ready: 'running', identify: 'starting', fact: 'starting', fatal: 'ended' },
  running: {
    identify: 'running',
    fact: 'running',
    figures: 'running',
    'policy-applied': 'running',
    fatal: 'ended',
  },
  // A stop may overtake the start.
  stopping: {
    hello: 'stopping',
    ready: 'stopping',
    identify: 'stopping',
    fact: 'stopping',
    figures: 'stopping',
    'policy-applied': 'stopping',
    fatal: 'ended',
    stopped: 'ended',
  },
  ended: {},
};

/** What the network role accepts. */
export const FROM_PROCESS_ROLE: PhaseTable<ToNetworkRole['type']> = {
  hello: {},
  waiting: { start: 'starting', stop: 'stopping' },
  starting: { answer: 'starting', stop: 'stopping' },
  running: { answer: 'running', measure: 'running', policy: 'running', stop: 'stopping' },
  stopping: { answer: 'stopping' },
  ended: {},
};

export interface PhaseKeeper<Type extends string> {
  readonly phase: Phase;
  /** @throws CastellanError `role_lost` when a message of this type may not come now. */
  receive(type: Type): void;
  /** A step this side takes itself. */
  enter(phase: Phase): void;
}

/** Follows one side of the wire through its phases, by one of the two tables. */
export function keepPhase<Type extends string>(table: PhaseTable<Type>): PhaseKeeper<Type> {
  let phase: Phase = 'hello';
  return {
    get phase() {
      return phase;
    },
    receive(type) {
      const next = Object.hasOwn(table[phase], type) ? table[phase][type] : undefined;
      if (next === undefined) throw roleLost(`the other role sent ${type} in phase ${phase}`);
      phase = next;
    },
    enter(next) {
      phase = next;
    },
  };
}
