/** Messages over a stream socket: a 4-byte big-endian length, then that many bytes of JSON. One broken frame ends the wire. */
import type { Socket } from 'node:net';
import { CastellanError, errnoOf } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { MAX_FRAME_BYTES } from './message.ts';

const HEADER_BYTES = 4;
/** A peer that reads at all keeps the queue below two of the largest messages; above, it has stopped reading. */
const MAX_QUEUED_FRAMES = 2;
/** Some thousand facts of the network side: from here on the sender should make no new ones. */
const CONGESTED_BYTES = 1024 * 1024;

export interface Channel<Send, Receive> {
  /** Queues one message; does nothing once the channel is closed. */
  send(message: Send): void;
  /** The messages in order, for one consumer. Ends when the wire does; `closed` then says why. */
  messages(): AsyncGenerator<Receive, void, void>;
  /** Asked for the length of each further frame as it is announced: what is longer ends the wire before it is kept. */
  limitFrames(limit: () => number): void;
  /** Bytes of the messages handed out so far. */
  readonly received: number;
  /** Undefined while there is room; else settles when what is queued has been read, or the wire is closed. */
  congestion(): Promise<void> | undefined;
  /** Sends what is queued, then closes. */
  close(): void;
  /** Closes at once, for `reason`. */
  fail(reason: CastellanError): void;
  /** Settles when the wire is gone; never rejects. */
  readonly closed: Promise<CastellanError>;
}

/**
 * Takes over `socket`. `parse` turns JSON into a message and throws on anything else, which ends the channel with
 * `role_lost`, as do a frame above its limit, a queue nobody reads, and the signal.
 */
export function openChannel<Send, Receive>(
  socket: Socket,
  parse: (value: unknown) => Receive,
  options: {
    readonly signal?: AbortSignal | undefined;
    /** Of any frame that is sent, and of those that come until `limitFrames` says otherwise; MAX_FRAME_BYTES by default. */
    readonly maxFrameBytes?: number;
    /** Queued, from which on the channel is congested. */
    readonly congestedBytes?: number;
  } = {},
): Channel<Send, Receive> {
  const { maxFrameBytes = MAX_FRAME_BYTES, congestedBytes = CONGESTED_BYTES } = options;
  let limit = (): number => maxFrameBytes;
  let received = 0;
  const { promise: closed, resolve } = Promise.withResolvers<CastellanError>();
  let reason: CastellanError | undefined;
  let room: Promise<void> | undefined;
  const fail = (error: CastellanError): void => {
    reason ??= error;
    socket.destroy();
  };
  const onAbort = (): void => fail(roleLost('the wire was given up'));
  socket.on('error', (error) => fail(roleLost(`the wire broke: ${error.message}`, error)));
  socket.once('close', () => {
    options.signal?.removeEventListener('abort', onAbort);
    resolve(reason ?? roleLost('the wire was closed'));
  });
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted) onAbort();
  return {
    closed,
    fail,
    limitFrames(next) {
      limit = next;
    },
    get received() {
      return received;
    },
    send(message) {
      if (!socket.writable) return;
      const frame = encodeFrame(message, maxFrameBytes);
      if (frame === undefined) fail(roleLost('a message for the wire is too large'));
      else if (socket.writableLength + frame.length > MAX_QUEUED_FRAMES * maxFrameBytes)
        fail(roleLost('the other role stopped reading'));
      else socket.write(frame);
    },
    async *messages() {
      try {
        for await (const frame of frames(socket, () => limit())) {
          received += frame.length;
          yield parse(JSON.parse(frame.toString('utf8')));
        }
      } catch (error) {
        fail(error instanceof CastellanError ? error : malformed(error));
      }
      // A peer that has ended will not read either.
      socket.destroy();
      await closed;
    },
    congestion() {
      if (!socket.writable || socket.writableLength < congestedBytes) return undefined;
      // One for all who wait: they may be thousands.
      room ??= Promise.race([
        new Promise<void>((done) => socket.once('drain', done)),
        closed.then(() => {}),
      ]).finally(() => {
        room = undefined;
      });
      return room;
    },
    close: () => socket.destroySoon(),
  };
}

/** The error of a wire or role that is gone. */
export function roleLost(message: string, cause?: unknown): CastellanError {
  const errno = errnoOf(cause);
  return new CastellanError('role_lost', message, {
    step: 'roles/channel',
    cause,
    ...(errno !== undefined && { errno }),
  });
}

function malformed(error: unknown): CastellanError {
  const detail = error instanceof Error ? error.message : String(error);
  return roleLost(`the other role sent a malformed message: ${escapeText(detail, 200)}`, error);
}

function encodeFrame(message: unknown, maxBytes: number): Buffer | undefined {
  const text = JSON.stringify(message);
  const length = Buffer.byteLength(text);
  if (length > maxBytes) return undefined;
  const frame = Buffer.allocUnsafe(HEADER_BYTES + length);
  frame.writeUInt32BE(length);
  frame.write(text, HEADER_BYTES);
  return frame;
}

/** The payloads of a byte stream's frames, each valid until the next is asked for. */
async function* frames(
  source: AsyncIterable<Buffer>,
  limit: () => number,
): AsyncGenerator<Buffer, void, void> {
  let held: Buffer = Buffer.alloc(0);
  let size = 0;
  let wanted = 0;
  for await (const chunk of source) {
    held = joined(held, size, chunk);
    size += chunk.length;
    for (;;) {
      if (wanted === 0 && size >= HEADER_BYTES) {
        const length = held.readUInt32BE();
        if (length > limit()) throw roleLost('the other role sent a message that is too large');
        wanted = HEADER_BYTES + length;
      }
      if (wanted === 0 || size < wanted) break;
      yield held.subarray(HEADER_BYTES, wanted);
      held = held.subarray(wanted);
      size -= wanted;
      wanted = 0;
    }
  }
  if (size > 0) throw roleLost('the wire was closed inside a message');
}

/**
 * The first `size` bytes of `held`, and `chunk`. Room doubles: a list of chunks would take hundreds of bytes for each of them, and who
 * sends a frame byte by byte chooses how many there are.
 */
function joined(held: Buffer, size: number, chunk: Buffer): Buffer {
  if (size === 0) return chunk;
  const needed = size + chunk.length;
  const room = needed <= held.length ? held : Buffer.allocUnsafeSlow(Math.max(2 * size, needed));
  if (room !== held) held.copy(room, 0, 0, size);
  chunk.copy(room, size);
  return room;
}
