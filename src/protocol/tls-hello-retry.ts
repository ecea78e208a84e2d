/**
 * A server may ask for another ClientHello (HelloRetryRequest, RFC 8446 §4.1.4), and some take the name from that one. So it has to
 * be read too. Bytes are followed record by record, each way, until it is certain that no other hello can come.
 */

const RECORD_HEADER_BYTES = 5;
const HANDSHAKE_HEADER_BYTES = 4;
const HANDSHAKE_RECORD = 22;
const SERVER_HELLO = 2;
/** The random value by which a ServerHello is a HelloRetryRequest: SHA-256 of that word. */
const RETRY_RANDOM = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex');
const RANDOM_OFFSET = RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES + 2;

/** Where the handshake message that begins the bytes ends; it has to be whole. */
export function endOfFirstMessage(bytes: Uint8Array): number {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [type = 0, high = 0, middle = 0, low = 0] = headerBytes(view);
  const wanted = type === 0 ? 0 : HANDSHAKE_HEADER_BYTES + high * 65_536 + middle * 256 + low;
  let at = 0;
  for (let gathered = 0; gathered < wanted && at + RECORD_HEADER_BYTES <= view.length; ) {
    const length = view.readUInt16BE(at + 3);
    gathered += length;
    at += RECORD_HEADER_BYTES + length;
  }
  return at;
}

/** Of the first message, which its records may cut anywhere. */
function headerBytes(view: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; found.length < HANDSHAKE_HEADER_BYTES && at + RECORD_HEADER_BYTES < view.length; ) {
    const length = view.readUInt16BE(at + 3);
    const fragment = view.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length);
    found.push(...fragment.subarray(0, HANDSHAKE_HEADER_BYTES - found.length));
    at += RECORD_HEADER_BYTES + length;
  }
  return found;
}

/** Whether the first bytes of a server ask for another hello; undefined while more are needed to tell. */
export function asksForRetry(bytes: Uint8Array): boolean | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length > 0 && view[0] !== HANDSHAKE_RECORD) return false;
  const end = RANDOM_OFFSET + RETRY_RANDOM.length;
  if (view.length < end) return undefined;
  return view[RECORD_HEADER_BYTES] === SERVER_HELLO && view.subarray(RANDOM_OFFSET, end).equals(RETRY_RANDOM);
}

export interface RecordWalk {
  /**
   * Takes what follows. Once a handshake record has begun, gives all from its first byte on, at each call: a hello, or what is
   * none. Undefined before.
   */
  take(chunk: Buffer): Buffer | undefined;
}

/** Passes over every other record: clients may send some between two hellos. */
export function walkToHandshake(): RecordWalk {
  let skip = 0;
  let kept: Buffer = Buffer.alloc(0);
  return {
    take(chunk) {
      let rest = kept.length === 0 ? chunk : Buffer.concat([kept, chunk]);
      for (;;) {
        const skipped = Math.min(skip, rest.length);
        skip -= skipped;
        rest = rest.subarray(skipped);
        if (rest[0] === HANDSHAKE_RECORD || rest.length < RECORD_HEADER_BYTES) break;
        skip = RECORD_HEADER_BYTES + rest.readUInt16BE(3);
      }
      kept = Buffer.from(rest);
      return kept[0] === HANDSHAKE_RECORD ? kept : undefined;
    },
  };
}
