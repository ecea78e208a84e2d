/** The wire as the process role holds it: hands over the policy, answers questions, passes facts on. */
import type { Socket } from 'node:net';
import type { Report } from '../audit/event.ts';
import type { CastellanError } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import type { NetworkRule } from '../policy/document.ts';
import { createAnswerer, type Identify } from './answer.ts';
import { openChannel, roleLost } from './channel.ts';
import { type ListenerDescriptors, type ToNetworkRole, type ToProcessRole, WIRE_VERSION } from './message.ts';
import { parseToProcessRole } from './parse.ts';
import { FROM_NETWORK_ROLE, keepPhase } from './phase.ts';

export interface ProcessSideOptions {
  /** The numbers the sockets have in the network role, not here. */
  readonly listeners: ListenerDescriptors;
  readonly rules: readonly NetworkRule[];
  readonly identify: Identify;
  readonly report: Report;
  readonly signal?: AbortSignal;
}

export interface ProcessSide {
  /** Settles when the network role serves, with its certificate authority; rejects with the reason when it is lost before. */
  readonly ready: Promise<string | undefined>;
  /** Asks the role to drain its connections and end. */
  stop(): void;
  /** Settles when the wire is gone, also after stop(); never rejects. */
  readonly closed: Promise<CastellanError>;
}

/** Takes over the process role's end of the socket pair. The policy goes out as soon as the role has said hello. */
export function openProcessSide(socket: Socket, options: ProcessSideOptions): ProcessSide {
  const channel = openChannel<ToNetworkRole, ToProcessRole>(socket, parseToProcessRole, {
    signal: options.signal,
  });
  const phases = keepPhase(FROM_NETWORK_ROLE);
  const answer = createAnswerer(options.identify, (id, result) =>
    channel.send({ type: 'answer', id, result }),
  );
  const ready = Promise.withResolvers<string | undefined>();
  const receive = async (message: ToProcessRole): Promise<void> => {
    phases.receive(message.type);
    switch (message.type) {
      case 'hello':
        if (message.version !== WIRE_VERSION)
          throw roleLost(`the network role speaks version ${message.version}`);
        return phases.phase === 'starting' ? channel.send(startMessage(options)) : undefined;
      case 'ready':
        return ready.resolve(message.authority);
      case 'identify':
        return answer(message.id, message.flow);
      case 'fact':
        return options.report(message.fact);
      case 'fatal':
        throw roleLost(`the network role gave up: ${escapeText(message.message)}`);
      case 'stopped':
        return channel.close();
    }
  };
  const serve = async (): Promise<void> => {
    for await (const message of channel.messages()) await receive(message).catch(channel.fail);
    ready.reject(await channel.closed);
  };
  ready.promise.catch(() => {});
  void serve();
  return {
    ready: ready.promise,
    closed: channel.closed,
    stop() {
      if (phases.phase === 'stopping' || phases.phase === 'ended') return;
      phases.enter('stopping');
      channel.send({ type: 'stop' });
    },
  };
}

function startMessage({ listeners, rules }: ProcessSideOptions): ToNetworkRole {
  return { type: 'start', version: WIRE_VERSION, listeners, policy: { generation: 1, rules } };
}
