/** The wire as the process role holds it: hands over the policy, answers questions, passes facts on. */
import type { Socket } from 'node:net';
import type { Report } from '../audit/event.ts';
import type { UpstreamProxy } from '../config/upstream-proxy.ts';
import { CastellanError } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import type { NetworkRule } from '../policy/document.ts';
import { createAnswerer, type Identify } from './answer.ts';
import { openChannel, roleLost } from './channel.ts';
import {
  type ListenerDescriptors,
  type NetworkFigures,
  type Placeholders,
  type SecretDescriptors,
  type ToNetworkRole,
  type ToProcessRole,
  WIRE_VERSION,
} from './message.ts';
import { parseToProcessRole } from './parse.ts';
import { FROM_NETWORK_ROLE, keepPhase } from './phase.ts';

export interface ProcessSideOptions {
  readonly report: Report;
  readonly signal?: AbortSignal;
}

/** What the network role is to do. */
export interface Task {
  /** Places in the row of descriptors that was handed over. */
  readonly listeners: ListenerDescriptors;
  readonly secrets: SecretDescriptors;
  readonly upstreamProxy?: UpstreamProxy | undefined;
  readonly rules: readonly NetworkRule[];
  /** Whether others may follow. */
  readonly mayChange: boolean;
  /** Whether programs of the sandbox may ask for rules. */
  readonly takesProposals: boolean;
  readonly identify: Identify;
}

/** What a network role that serves has to tell. */
export interface Ready {
  /** PEM of the certificate authority that opened TLS is proved by; undefined where none is opened. */
  readonly authority: string | undefined;
  readonly placeholders: Placeholders | undefined;
}

export interface ProcessSide {
  /**
   * Has the network role begin, once it has said hello; settles when it serves, and rejects with the reason when it is lost
   * before. Its descriptors have to be on their way.
   */
  serve(task: Task): Promise<Ready>;
  /** Puts other rules in force; settles with how many connections that ended. Rejects when the role is lost. */
  replacePolicy(rules: readonly NetworkRule[]): Promise<number>;
  /** What the role tells of itself; undefined where it does not within its time, or does not serve. Never rejects. */
  measure(): Promise<NetworkFigures | undefined>;
  /** Asks the role to drain its connections and end. */
  stop(): void;
  /** Settles when the wire is gone, also after stop(); never rejects. */
  readonly closed: Promise<CastellanError>;
}

/** Takes over the process role's end of the socket pair. */
export function openProcessSide(socket: Socket, { report, signal }: ProcessSideOptions): ProcessSide {
  const channel = openChannel<ToNetworkRole, ToProcessRole>(socket, parseToProcessRole, { signal });
  const phases = keepPhase(FROM_NETWORK_ROLE);
  let identify: Identify = async () => ({ ok: false, reason: 'nothing is served yet' });
  const answer = createAnswerer(
    (flow) => identify(flow),
    (id, result) => channel.send({ type: 'answer', id, result }),
  );
  const figures = createFigures((id) => channel.send({ type: 'measure', id }));
  const applied = new Map<number, (closed: number) => void>();
  let generation = FIRST_GENERATION;
  const hello = Promise.withResolvers<void>();
  const ready = Promise.withResolvers<Ready>();
  const receive = async (message: ToProcessRole): Promise<void> => {
    phases.receive(message.type);
    switch (message.type) {
      case 'hello':
        if (message.version !== WIRE_VERSION)
          throw roleLost(`the network role speaks version ${message.version}`);
        return hello.resolve();
      case 'ready':
        return ready.resolve(message);
      case 'policy-applied':
        return applied.get(message.generation)?.(message.closed);
      case 'identify':
        return answer(message.id, message.flow);
      case 'figures':
        return figures.settle(message.id, message.figures);
      case 'fact':
        return report(message.fact);
      case 'fatal':
        if (message.code !== undefined)
          throw new CastellanError(message.code, escapeText(message.message), { step: 'network-role' });
        throw roleLost(`the network role gave up: ${escapeText(message.message)}`);
      case 'stopped':
        return channel.close();
    }
  };
  const listen = async (): Promise<void> => {
    for await (const message of channel.messages()) await receive(message).catch(channel.fail);
    const reason = await channel.closed;
    hello.reject(reason);
    ready.reject(reason);
  };
  hello.promise.catch(() => {});
  ready.promise.catch(() => {});
  void listen();
  return {
    closed: channel.closed,
    async serve(task) {
      await hello.promise;
      // A stop may have come first.
      if (phases.phase === 'waiting') {
        identify = task.identify;
        phases.enter('starting');
        channel.send(startMessage(task));
      }
      return ready.promise;
    },
    async replacePolicy(rules) {
      if (phases.phase !== 'running') throw roleLost('the network role takes no policy now');
      generation += 1;
      // Another may follow before this one is answered.
      const number = generation;
      const { promise, resolve } = Promise.withResolvers<number>();
      applied.set(number, resolve);
      channel.send({ type: 'policy', generation: number, rules });
      // Nobody knows which policy a role has that does not answer.
      const timer = setTimeout(
        () => channel.fail(roleLost('the network role did not put a policy in force in time')),
        APPLY_DEADLINE_MS,
      );
      const lost = channel.closed.then((error) => Promise.reject(error));
      try {
        return await Promise.race([promise, lost]);
      } finally {
        clearTimeout(timer);
        applied.delete(number);
      }
    },
    measure: () => (phases.phase === 'running' ? figures.ask() : Promise.resolve(undefined)),
    stop() {
      if (phases.phase === 'stopping' || phases.phase === 'ended') return;
      phases.enter('stopping');
      channel.send({ type: 'stop' });
    },
  };
}

/** Those who collect metrics wait for 10 s by default, and a role that takes no turn for so long serves nobody. */
const MEASURE_DEADLINE_MS = 2000;

/** One question at a time: who asks meanwhile gets the same answer. */
function createFigures(send: (id: number) => void) {
  let lastId = 0;
  let asked: Promise<NetworkFigures | undefined> | undefined;
  let answer = (_figures: NetworkFigures | undefined): void => {};
  return {
    ask() {
      if (asked !== undefined) return asked;
      const { promise, resolve } = Promise.withResolvers<NetworkFigures | undefined>();
      const timer = setTimeout(resolve, MEASURE_DEADLINE_MS, undefined);
      lastId += 1;
      answer = resolve;
      asked = promise.finally(() => {
        clearTimeout(timer);
        asked = undefined;
      });
      send(lastId);
      return asked;
    },
    /** What comes too late is dropped. */
    settle(id: number, figures: NetworkFigures) {
      if (id === lastId) answer(figures);
    },
  };
}

const FIRST_GENERATION = 1;
/** Compiling the largest policy takes a second on a loaded machine, and judging thousands of connections another. */
const APPLY_DEADLINE_MS = 20_000;

function startMessage(task: Task): ToNetworkRole {
  const { listeners, secrets, upstreamProxy, rules, mayChange, takesProposals } = task;
  const policy = { generation: FIRST_GENERATION, rules, mayChange };
  const proxy = upstreamProxy && { upstreamProxy };
  return { type: 'start', version: WIRE_VERSION, listeners, secrets, ...proxy, takesProposals, policy };
}
