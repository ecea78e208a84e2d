/**
 * The ClientHello at the start of a TLS connection (RFC 8446 §4.1.2), for the server name in it (RFC 6066 §3). The bytes
 * are the agent's: whatever two TLS stacks could read differently is invalid here.
 */
import { ByteReader } from './byte-reader.ts';
import { parseHostName } from './host-name.ts';

export type ClientHello =
  | { readonly state: 'incomplete' }
  /** The first bytes are no TLS handshake record. */
  | { readonly state: 'not-tls' }
  | { readonly state: 'invalid'; readonly reason: string }
  | {
      readonly state: 'complete';
      /** Lower case; undefined where the client named none. */
      readonly serverName: string | undefined;
      /** In the client's order, one character a byte. */
      readonly alpn: readonly string[];
      /** Whether there may be another, encrypted ClientHello with another name; also true for the decoys that some browsers always send. */
      readonly hasEch: boolean;
    };

/** Post-quantum key shares make hellos of 2 KiB; nothing known comes near this. */
export const MAX_CLIENT_HELLO_BYTES = 32 * 1024;
/** Real clients send one or two records, evasive ones a few dozen. Bounds what is walked at each call. */
const MAX_RECORDS = 64;
/** RFC 8446 §5.1. */
const MAX_RECORD_BYTES = 16 * 1024;
const RECORD_HEADER_BYTES = 5;
const HANDSHAKE_HEADER_BYTES = 4;

const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const TLS_MAJOR_VERSION = 3;
const EXTENSION_SERVER_NAME = 0;
const EXTENSION_ALPN = 16;
const EXTENSION_ECH = 0xfe0d;
/** The draft that preceded it. */
const EXTENSION_ESNI = 0xffce;

/**
 * Reads what has arrived so far, all of it from the first byte on at each call. Bytes after the records of the
 * ClientHello are not looked at.
 */
export function readClientHello(bytes: Uint8Array): ClientHello {
  const fragments: Uint8Array[] = [];
  let gathered = 0;
  let announced = 0;
  for (let at = 0; fragments.length < MAX_RECORDS; ) {
    const header = bytes.subarray(at, at + RECORD_HEADER_BYTES);
    const problem = recordProblem(header);
    if (problem !== undefined)
      return at === 0 && problem === NOT_HANDSHAKE ? { state: 'not-tls' } : invalid(problem);
    if (header.length < RECORD_HEADER_BYTES) return { state: 'incomplete' };
    const length = ((header[3] ?? 0) << 8) | (header[4] ?? 0);
    at += RECORD_HEADER_BYTES;
    const fragment = bytes.subarray(at, at + length);
    fragments.push(fragment);
    gathered += fragment.length;
    announced += length;
    at += length;
    const progress = readHandshake(fragments, gathered, announced);
    if (progress !== undefined) return progress;
    if (fragment.length < length) return { state: 'incomplete' };
  }
  return invalid(`the ClientHello is cut into more than ${MAX_RECORDS} records`);
}

const NOT_HANDSHAKE = 'a record is no TLS handshake';

/** What is wrong with a record header, as far as it is there. */
function recordProblem([type, major, , high, low]: Uint8Array): string | undefined {
  if (type !== undefined && type !== HANDSHAKE_RECORD) return NOT_HANDSHAKE;
  if (major !== undefined && major !== TLS_MAJOR_VERSION) return NOT_HANDSHAKE;
  if (high === undefined || low === undefined) return undefined;
  const length = (high << 8) | low;
  if (length === 0) return 'a handshake record is empty';
  return length > MAX_RECORD_BYTES ? 'a record is longer than TLS allows' : undefined;
}

/**
 * The hello, once all of it is there; before that undefined, or what is already wrong. The records are judged by the length they
 * `announced`, so that it does not matter how the network cuts them.
 */
function readHandshake(
  fragments: readonly Uint8Array[],
  gathered: number,
  announced: number,
): ClientHello | undefined {
  const [type, ...length] = firstBytes(fragments);
  if (type !== undefined && type !== CLIENT_HELLO)
    return invalid('the first handshake message is no ClientHello');
  if (length.length < 3) return undefined;
  const wanted = HANDSHAKE_HEADER_BYTES + length.reduce((value, byte) => value * 256 + byte, 0);
  if (wanted > MAX_CLIENT_HELLO_BYTES)
    return invalid(`the ClientHello is longer than ${MAX_CLIENT_HELLO_BYTES} bytes`);
  if (announced > wanted) return invalid('there is more than the ClientHello in its record');
  if (gathered < wanted) return undefined;
  return parseBody(Buffer.concat(fragments).subarray(HANDSHAKE_HEADER_BYTES));
}

function firstBytes(fragments: readonly Uint8Array[]): number[] {
  const bytes: number[] = [];
  for (const fragment of fragments) {
    bytes.push(...fragment.subarray(0, HANDSHAKE_HEADER_BYTES - bytes.length));
    if (bytes.length === HANDSHAKE_HEADER_BYTES) break;
  }
  return bytes;
}

function parseBody(body: Uint8Array): ClientHello {
  const reader = new ByteReader(body);
  const version = reader.number(2);
  reader.bytes(32);
  const session = reader.vector(1);
  const ciphers = reader.vector(2);
  const compression = reader.vector(1);
  if (reader.failed || version >> 8 !== TLS_MAJOR_VERSION || session.length > 32) return MALFORMED;
  if (ciphers.length === 0 || ciphers.length % 2 !== 0 || compression.length === 0) return MALFORMED;
  // TLS 1.2 and before may do without extensions altogether.
  const extensions = reader.finished ? new Map<number, Uint8Array>() : readExtensions(reader.vector(2));
  if (extensions === undefined || !reader.finished) return MALFORMED;
  const serverName = readServerName(extensions.get(EXTENSION_SERVER_NAME));
  const alpn = readAlpn(extensions.get(EXTENSION_ALPN));
  if (serverName === undefined)
    return invalid('the server name in the ClientHello is not one valid host name');
  if (alpn === undefined) return MALFORMED;
  return {
    state: 'complete',
    serverName: serverName.name,
    alpn,
    hasEch: extensions.has(EXTENSION_ECH) || extensions.has(EXTENSION_ESNI),
  };
}

/** By type; undefined if cut, or if a type comes twice, which RFC 8446 §4.2 forbids. */
function readExtensions(bytes: Uint8Array): Map<number, Uint8Array> | undefined {
  const reader = new ByteReader(bytes);
  const extensions = new Map<number, Uint8Array>();
  while (!reader.finished) {
    const type = reader.number(2);
    const data = reader.vector(2);
    if (reader.failed || extensions.has(type)) return undefined;
    extensions.set(type, data);
  }
  return extensions;
}

/** The name, or none where the extension is absent; undefined if it does not hold exactly one valid host name. */
function readServerName(
  extension: Uint8Array | undefined,
): { readonly name: string | undefined } | undefined {
  if (extension === undefined) return { name: undefined };
  const outer = new ByteReader(extension);
  const list = new ByteReader(outer.vector(2));
  const type = list.number(1);
  const bytes = list.vector(2);
  if (!outer.finished || !list.finished || type !== 0) return undefined;
  const name = parseHostName(Buffer.from(bytes).toString('latin1'));
  return name === undefined ? undefined : { name };
}

function readAlpn(extension: Uint8Array | undefined): string[] | undefined {
  if (extension === undefined) return [];
  const outer = new ByteReader(extension);
  const list = new ByteReader(outer.vector(2));
  const protocols: string[] = [];
  while (!list.finished) {
    const protocol = list.vector(1);
    if (list.failed || protocol.length === 0) return undefined;
    protocols.push(Buffer.from(protocol).toString('latin1'));
  }
  return outer.finished && protocols.length > 0 ? protocols : undefined;
}

const MALFORMED = invalid('the ClientHello is malformed');

function invalid(reason: string): ClientHello {
  return { state: 'invalid', reason };
}
