/** A tunnel whose ClientHello was judged: another one, that its server may ask for, is judged too. */
import type { Socket } from 'node:net';
import { asksForRetry, endOfFirstMessage, walkToHandshake } from '../../protocol/tls-hello-retry.ts';
import { classifyOpening, type Opening } from '../accept/opening.ts';
import type { EgressLimits } from '../limits.ts';
import type { Objection } from '../stages.ts';

export interface HelloWatchOptions {
  readonly limits: EgressLimits;
  /** The hello that was judged, and what came with it. */
  readonly opening: Buffer;
  judge(opening: Opening): Objection | undefined;
}

export interface HelloWatch {
  /**
   * Settles with what is wrong with another hello: then its last bytes have not gone out. With undefined once none can come that has not
   * been judged.
   */
  readonly over: Promise<Objection | undefined>;
  /** Whether what came with the first hello may go out. */
  readonly isFine: boolean;
}

/**
 * Looks on until the server has answered without asking for another hello, or until that one is judged. Before the server's
 * answer no client has another handshake message to send, so that any is taken for a hello. To be called before the client's
 * bytes are piped on: then each piece is seen here before it leaves.
 */
export function watchHello(client: Socket, upstream: Socket, options: HelloWatchOptions): HelloWatch {
  const { opening, limits, judge } = options;
  const { promise: over, resolve } = Promise.withResolvers<Objection | undefined>();
  const walk = walkToHandshake();
  let answer: Buffer = Buffer.alloc(0);
  let isFine = true;
  const stop = (): void => {
    client.off('data', onClient);
    upstream.off('data', onServer);
    resolve(undefined);
  };
  const object = (found: Objection): void => {
    resolve(found);
    stop();
    isFine = false;
    // Here and now: the piece that has just come is about to be written.
    upstream.destroy();
  };
  const onClient = (chunk: Buffer): void => {
    const bytes = walk.take(chunk);
    if (bytes === undefined) return;
    const hello = classifyOpening(bytes);
    if (hello === undefined) {
      if (bytes.length >= limits.openingBytes) object(tooLong);
      return;
    }
    const found = hello.kind === 'tls' ? judge(hello) : malformed;
    if (found === undefined) stop();
    else object(found);
  };
  const onServer = (chunk: Buffer): void => {
    answer = Buffer.concat([answer, chunk]);
    const asks = asksForRetry(answer);
    if (asks === false) stop();
    if (asks === true) upstream.off('data', onServer);
  };
  upstream.on('data', onServer);
  client.on('data', onClient);
  const behind = opening.subarray(endOfFirstMessage(opening));
  if (behind.length > 0) onClient(behind);
  return {
    over,
    get isFine() {
      return isFine;
    },
  };
}

const malformed: Objection = {
  reason: 'name_mismatch',
  detail: 'what follows the TLS ClientHello, before the server has answered, is no other one',
};
const tooLong: Objection = { reason: 'name_mismatch', detail: 'a second TLS ClientHello is too long' };
