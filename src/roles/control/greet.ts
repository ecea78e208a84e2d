/** The first words on the control wire, and the deadline for them. */
import type { Socket } from 'node:net';
import { CastellanError } from '../../errors.ts';
import { type Channel, openChannel, roleLost } from '../channel.ts';
import type { PhaseKeeper } from '../phase.ts';
import { type Bound, CONGESTED_BYTES, MAX_CONTROL_FRAME_BYTES, MAX_GREETING_BYTES } from './bounds.ts';
import { CONTROL_VERSION } from './message.ts';

/** One small message of a process that is running already. */
export const GREETING_DEADLINE_MS = 5000;

/** A wire whose other end has said who it is. */
export interface Greeted<Send, Receive> {
  readonly channel: Channel<Send, Receive>;
  /** What comes after the greeting. It may be no longer than one until `limitFrames` says otherwise. */
  readonly messages: AsyncGenerator<Receive, void, void>;
}

interface Typed {
  readonly type: string;
}

/**
 * Opens the channel, sends `own` first where there is one, and takes the greeting of the other end.
 * @throws CastellanError `role_lost` where it says anything else, another version, or nothing in time; the socket is closed then
 */
export async function greet<Send, Receive extends Typed, Hello extends Receive>(
  socket: Socket,
  parse: (value: unknown) => Receive,
  isHello: (message: Receive) => message is Hello & { readonly version: number },
  own?: Send,
): Promise<Greeted<Send, Receive> & { readonly hello: Hello }> {
  const channel = openChannel<Send, Receive>(socket, parse, {
    maxFrameBytes: MAX_CONTROL_FRAME_BYTES,
    congestedBytes: CONGESTED_BYTES,
  });
  channel.limitFrames(() => MAX_GREETING_BYTES);
  const late = setTimeout(
    () => channel.fail(roleLost(`the other end did not say who it is within ${GREETING_DEADLINE_MS} ms`)),
    GREETING_DEADLINE_MS,
  );
  try {
    if (own !== undefined) channel.send(own);
    const messages = channel.messages();
    const { value: hello } = await messages.next();
    if (hello === undefined) throw await channel.closed;
    if (!isHello(hello)) throw roleLost(`the other end said ${hello.type} in the place of a greeting`);
    if (hello.version !== CONTROL_VERSION)
      throw roleLost(`the other end speaks version ${hello.version}, and this one ${CONTROL_VERSION}`);
    return { channel, messages, hello };
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(late);
  }
}

interface Conversation<Receive extends Typed> {
  readonly phases: PhaseKeeper<Receive['type']>;
  readonly bounds: Readonly<Record<Receive['type'], Bound>>;
  /** @param bytes of its frame */
  readonly receive: (message: Receive, bytes: number) => Promise<void>;
}

/** Hands over every message, in order, until the wire is gone. One that may not come, is too long, or that `receive` refuses, is the last. */
export async function converse<Receive extends Typed>(
  {
    channel,
    messages,
  }: Pick<Greeted<unknown, Receive>, 'messages'> & {
    readonly channel: Pick<Channel<unknown, Receive>, 'fail' | 'received'>;
  },
  { phases, bounds, receive }: Conversation<Receive>,
): Promise<void> {
  let before = channel.received;
  for await (const message of messages) {
    const bytes = channel.received - before;
    before = channel.received;
    const type: Receive['type'] = message.type;
    try {
      phases.receive(type);
      if (bytes > bounds[type].bytes) throw roleLost(`the other end sent ${type} of ${bytes} bytes`);
      await receive(message, bytes);
    } catch (error) {
      return channel.fail(error instanceof CastellanError ? error : roleLost(String(error), error));
    }
  }
}
