/** Messages over a stream socket: a 4-byte big-endian length, then that many bytes of JSON. One broken frame ends the wire. */
import type { Socket } from 'node:net';
import { CastellanError, errnoOf } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { MAX_FRAME_BYTES } from './message.ts';

const HEADER_BYTES = 4;
/** A peer that reads at all keeps the queue far below; above, it has stopped reading. */
const MAX_QUEUED_BYTES = 2 * MAX_FRAME_BYTES;
/** Some thousand facts: from here on the sender should make no new ones. */
const CONGESTED_BYTES = 1024 * 1024;

export interface Channel<Send, Receive> {
  /** Queues one message; does nothing once the channel is closed. */
  send(message: Send): void;
  /** The messages in order, for one consumer. Ends when the wire does; `closed` then says why. */
  messages(): AsyncGenerator<Receive, void, void>;
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
 * `role_lost`, as do a frame above MAX_FRAME_BYTES, a queue nobody reads, and the signal.
 */
export function openChannel<Send, Receive>(
  socket: Socket,
  parse: (value: unknown) => Receive,
  options: {
    readonly signal?: AbortSignal | undefined;
    /** Of the first frame, where less is expected of somebody who is not known yet. */
    readonly firstFrameBytes?: number;
  } = {},
): Channel<Send, Receive> {
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
    send(message) {
      if (!socket.writable) return;
      const frame = encodeFrame(message);
      if (frame === undefined) fail(roleLost('a message for the wire is too large'));
      else if (socket.writableLength + frame.length > MAX_QUEUED_BYTES)
        fail(roleLost('the other role stopped reading'));
      else socket.write(frame);
    },
    async *messages() {
      try {
        for await (const frame of frames(socket, options.firstFrameBytes))
          yield parse(JSON.parse(frame.toString('utf8')));
      } catch (error) {
        fail(error instanceof CastellanError ? error : malformed(error));
      }
      // A peer that has ended will not read either.
      socket.destroy();
      await closed;
    },
    congestion() {
      if (!socket.writable || socket.writableLength < CONGESTED_BYTES) return undefined;
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

function encodeFrame(message: unknown): Buffer | undefined {
  const text = JSON.stringify(message);
  const length = Buffer.byteLength(text);
  if (length > MAX_FRAME_BYTES) return undefined;
  const frame = Buffer.allocUnsafe(HEADER_BYTES + length);
  frame.writeUInt32BE(length);
  frame.write(text, HEADER_BYTES);
  return frame;
}

/** The payloads of a byte stream's frames. Chunks are joined once a frame is whole, so that a large one costs one copy. */
async function* frames(
  source: AsyncIterable<Buffer>,
  firstFrameBytes = MAX_FRAME_BYTES,
): AsyncGenerator<Buffer, void, void> {
  let limit = firstFrameBytes;
  let held: Buffer[] = [];
  let size = 0;
  let wanted = HEADER_BYTES;
  for await (const chunk of source) {
    held.push(chunk);
    size += chunk.length;
    while (size >= wanted) {
      const bytes = held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held, size);
      held = [bytes];
      wanted = HEADER_BYTES + bytes.readUInt32BE();
      if (wanted > HEADER_BYTES + limit) throw roleLost('the other role sent a message that is too large');
      if (size < wanted) break;
      yield bytes.subarray(HEADER_BYTES, wanted);
      held = [bytes.subarray(wanted)];
      size -= wanted;
      wanted = HEADER_BYTES;
      limit = MAX_FRAME_BYTES;
    }
  }
  if (size > 0) throw roleLost('the wire was closed inside a message');
}
