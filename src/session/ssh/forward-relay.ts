/** The bytes of a forward: between a channel and a connection in the sandbox, each end of them passed on by itself. */
import type { Socket } from 'node:net';
import type { ServerChannel } from 'ssh2';
import type { ForwardEnd } from '../../audit/event.ts';
import { within } from '../../launch/process.ts';
import { copyInput } from '../relay.ts';

const NOTHING = Buffer.alloc(0);
/** For a target to take what a client left behind that has closed its channel; one that does not read is cut off. */
const LAST_BYTES_MS = 5000;

/** Copies both ways, as fast as each side reads, until both have ended or one is cut off. Both are closed then. */
export async function relayForward(
  channel: ServerChannel,
  socket: Socket,
  gone: AbortSignal,
): Promise<ForwardEnd> {
  const said = watchClient(channel);
  channel.on('error', () => {});
  // The connection may outlive thousands of forwards, which must leave nothing with its signal.
  const over = new AbortController();
  const whenGone = (act: () => void) => {
    gone.addEventListener('abort', act, { once: true, signal: over.signal });
    if (gone.aborted) act();
  };
  let directions = 2;
  const end = await new Promise<ForwardEnd>((resolve) => {
    const endOne = () => {
      directions -= 1;
      if (directions === 0) resolve('ended');
    };
    copyInput(channel, socket, {
      atEnd() {
        if (said.hasEnded()) socket.end();
      },
    });
    copyInput(socket, channel, {
      atEnd() {
        // After all that waits for the client's window. Not end(), with which ssh2 closes the other direction too.
        channel.write(NOTHING, () => {
          channel.eof();
          endOne();
        });
      },
    });
    socket.once('finish', endOne);
    socket.once('error', () => resolve('reset'));
    void said.closed.then(() => resolve('closed'));
    whenGone(() => resolve('gone'));
  });
  if (end === 'closed' && said.hasEnded()) await finished(socket, whenGone);
  over.abort();
  cut(socket);
  channel.close();
  // The client closes its channel as soon as both have said that they end, whatever is still on its way.
  return directions === 0 ? 'ended' : end;
}

interface ClientWords {
  /** That there is no more to come. */
  hasEnded(): boolean;
  readonly closed: Promise<void>;
}

/**
 * What the client says besides data. ssh2 ends the stream in the same way whether it has ended or was just closed, and tells of a
 * close only when everything before it has been read.
 */
function watchClient(channel: ServerChannel): ClientWords {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  let hasEnded = false;
  const push = channel.push.bind(channel);
  channel.push = (chunk: unknown) => {
    const { state } = channel.incoming as { readonly state: string };
    if (chunk === null && state === 'eof') hasEnded = true;
    if (chunk === null && state === 'closed') resolve();
    return push(chunk);
  };
  channel.once('close', resolve);
  return { hasEnded: () => hasEnded, closed };
}

async function finished(socket: Socket, whenGone: (act: () => void) => void): Promise<void> {
  if (socket.writableFinished) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const event of ['finish', 'close']) socket.once(event, () => resolve());
  whenGone(resolve);
  await within(promise, LAST_BYTES_MS);
}

/** A target that was not told of an end must not take this for one. */
function cut(socket: Socket): void {
  const isTcp = socket.remoteAddress !== undefined;
  if (socket.writableFinished || !isTcp) socket.destroy();
  else socket.resetAndDestroy();
}
