/** A WebSocket (RFC 6455) to its origin and back, message by message: both sides are parsed, and written anew. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import type { DenyVerdict } from '../../policy/verdict.ts';
import { breakOff, linger, refuseSocket } from '../accept/refusal.ts';
import type { Conversation, Ruling } from '../inspect/conversation.ts';
import type { EgressLimits } from '../limits.ts';
import type { Outcome, PlaceholderGuard } from '../stages.ts';
import { pairs, requestFields, responseFields, toHeaderObject } from './headers.ts';

export interface WebSocketClient {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** What came behind the request's head. */
  readonly head: Buffer;
}

export interface WebSocketOptions {
  readonly limits: EgressLimits;
  readonly authority: string;
  readonly path: string;
  /** Set where messages are judged. */
  readonly conversation: Conversation | undefined;
  /** In the place of the client's own. */
  readonly fields: readonly string[] | undefined;
  readonly guard: PlaceholderGuard | undefined;
  /** Aborted when the right is lost, with why as its reason. */
  readonly revoked: AbortSignal;
}

/** RFC 6455 §7.4.1. */
const CLOSE = { goingAway: 1001, noStatus: 1005, abnormal: 1006, policy: 1008, tlsFailed: 1015 } as const;
/** Of a close frame, in bytes of UTF-8. */
const MAX_REASON_BYTES = 123;
/** Fields of the handshake, which each side does for itself. */
const HANDSHAKE = /^sec-websocket-(key|version|extensions|accept|protocol)$/i;

/** What is wrong with a request to open a WebSocket; undefined for a good one (RFC 6455 §4.2.1). */
export function webSocketFlaw({ method, headers }: IncomingMessage): string | undefined {
  if (method !== 'GET') return 'a WebSocket is opened by GET';
  if (headers['sec-websocket-version'] !== '13') return 'the only Sec-WebSocket-Version spoken here is 13';
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? ''))
    return 'Sec-WebSocket-Key is missing or malformed';
  return headers['content-length'] === undefined && headers['transfer-encoding'] === undefined
    ? undefined
    : 'a request for a WebSocket has no body';
}

/** Owns both sockets. Never rejects. */
export function relayWebSocket(
  client: WebSocketClient,
  upstream: Socket,
  options: WebSocketOptions,
): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const { socket } = client;
  const { limits } = options;
  let settled = false;
  const settle = (result: Omit<Outcome, 'bytesIn' | 'bytesOut'>): void => {
    if (settled) return;
    settled = true;
    resolve({ ...result, bytesOut: upstream.bytesWritten, bytesIn: upstream.bytesRead });
  };
  const origin = openOrigin(client.request, upstream, options);
  let failure = 'closed before the handshake';
  origin.on('error', (error) => {
    failure = error.message;
  });
  origin.once('unexpected-response', (_request, response) => {
    passRefusal(response, socket, limits.lingerMs);
    settle({ result: 'closed', httpStatus: response.statusCode ?? 502 });
  });
  origin.once('close', () => {
    if (settled) return;
    refuseSocket(socket, limits.lingerMs, 502, { error: 'upstream_failed', detail: failure });
    settle({ result: 'failed', httpStatus: 502, detail: failure });
  });
  const onGone = (): void => {
    upstream.destroy();
    settle({ result: 'failed', detail: 'the client went away' });
  };
  const onRevoked = (): void => breakOff(socket);
  socket.once('close', onGone);
  options.revoked.addEventListener('abort', onRevoked);
  let answer: IncomingMessage | undefined;
  origin.once('upgrade', (response) => {
    answer = response;
  });
  origin.once('open', () => {
    acceptClient(client, origin, answer, limits, (accepted) => {
      origin.removeAllListeners('close');
      socket.off('close', onGone);
      options.revoked.removeEventListener('abort', onRevoked);
      join(accepted, origin, options).then((denied) =>
        settle({
          httpStatus: 101,
          ...(denied === undefined
            ? { result: 'closed' }
            : { result: 'denied', reason: denied.reason, detail: denied.detail }),
        }),
      );
    });
  });
  return promise;
}

function openOrigin(
  request: IncomingMessage,
  upstream: Socket,
  { limits, authority, path, fields: sent = request.rawHeaders }: WebSocketOptions,
): WebSocket {
  const kept = pairs(requestFields(sent, true))
    .filter(([name]) => !HANDSHAKE.test(name))
    .flat();
  const offered = (request.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  return new WebSocket('ws://origin.invalid', [...new Set(offered)], {
    createConnection: () => upstream,
    headers: { ...toHeaderObject(kept), Host: authority },
    handshakeTimeout: limits.requestIdleMs,
    perMessageDeflate: false,
    autoPong: false,
    maxPayload: limits.originMessageBytes,
    maxHeaderSize: limits.responseHeadBytes,
    finishRequest(outgoing) {
      // As it was judged: a URL would be normalised once more.
      outgoing.path = path;
      outgoing.end();
    },
  });
}

function acceptClient(
  { request, socket, head }: WebSocketClient,
  origin: WebSocket,
  answer: IncomingMessage | undefined,
  limits: EgressLimits,
  done: (accepted: WebSocket) => void,
): void {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    autoPong: false,
    maxPayload: limits.clientMessageBytes,
    handleProtocols: () => origin.protocol || false,
  });
  server.once('headers', (headers) => {
    for (const [name, value] of pairs(responseFields(answer?.rawHeaders ?? [])))
      if (!HANDSHAKE.test(name)) headers.push(`${name}: ${value}`);
  });
  server.handleUpgrade(request, socket, head, done);
}

/** Until both are closed; gives why, where it was the policy. */
function join(
  client: WebSocket,
  origin: WebSocket,
  { conversation, limits, revoked, guard }: WebSocketOptions,
): Promise<DenyVerdict | undefined> {
  const { promise, resolve } = Promise.withResolvers<DenyVerdict | undefined>();
  let denied: DenyVerdict | undefined;
  const end = (why: string): void => {
    client.close(CLOSE.policy, closeReason(why));
    origin.close(CLOSE.goingAway);
  };
  const carryOut = (ruling: Ruling): boolean => {
    if (ruling.kind === 'close' && denied === undefined) {
      denied = ruling.verdict;
      end(denied.detail);
    }
    if (ruling.kind === 'answer' && client.readyState === WebSocket.OPEN) client.send(ruling.text);
    return ruling.kind === 'pass';
  };
  conversation?.opened?.(origin.protocol);
  const mayPass = (message: Buffer, isBinary: boolean): boolean | Promise<boolean> => {
    if (conversation === undefined) return true;
    // What came behind a message that ended everything was never asked for.
    if (denied !== undefined || revoked.aborted) return false;
    const ruling = conversation.judge(message, isBinary);
    return ruling instanceof Promise ? ruling.then(carryOut) : carryOut(ruling);
  };
  const withSecrets = (message: Buffer, isBinary: boolean): string | Buffer | undefined => {
    if (guard === undefined) return message;
    const guarded = guard.message(isBinary ? message : message.toString());
    if ('data' in guarded) return guarded.data;
    const reason = 'credential_endpoint_mismatch';
    carryOut({ kind: 'close', verdict: { allow: false, reason, detail: guarded.flaw, nearest: undefined } });
    return undefined;
  };
  pass(client, origin, { limits, mayPass, through: withSecrets });
  revoked.addEventListener('abort', () => end(String(revoked.reason)));
  pass(origin, client, {
    limits,
    mayPass(message, isBinary) {
      if (!isBinary) conversation?.answered?.(message);
      return true;
    },
    through: (message) => message,
  });
  const closed = (): void => {
    if (client.readyState === WebSocket.CLOSED && origin.readyState === WebSocket.CLOSED) resolve(denied);
  };
  client.once('close', closed);
  origin.once('close', closed);
  return promise;
}

/** Messages and the close go on in their order. */
interface Passage {
  readonly limits: EgressLimits;
  readonly mayPass: (message: Buffer, isBinary: boolean) => boolean | Promise<boolean>;
  /** What goes on in the message's place; undefined where nothing does. */
  readonly through: (message: Buffer, isBinary: boolean) => string | Buffer | undefined;
}

function pass(from: WebSocket, to: WebSocket, { limits, mayPass, through }: Passage): void {
  const idle = setTimeout(() => {
    from.close(CLOSE.goingAway, 'idle');
    to.close(CLOSE.goingAway, 'idle');
  }, limits.tunnelIdleMs);
  /** Of the last message that is still being judged. */
  let judging: Promise<void> | undefined;
  const send = (message: Buffer, isBinary: boolean): void => {
    const passed = through(message, isBinary);
    if (passed === undefined || to.readyState !== WebSocket.OPEN) return;
    // One message at a time: a slow reader slows the sender down.
    from.pause();
    to.send(passed, { binary: isBinary }, () => from.resume());
  };
  from.on('message', (data: Buffer, isBinary) => {
    idle.refresh();
    const judged =
      judging === undefined ? mayPass(data, isBinary) : judging.then(() => mayPass(data, isBinary));
    if (typeof judged === 'boolean') return void (judged && send(data, isBinary));
    from.pause();
    const done = judged.then(
      (passes) => {
        if (judging === done) judging = undefined;
        from.resume();
        if (passes) send(data, isBinary);
      },
      () => {
        // What could not be judged does not pass, and nothing behind it.
        from.terminate();
        to.terminate();
      },
    );
    judging = done;
  });
  from.on('ping', (data) => to.readyState === WebSocket.OPEN && to.ping(data));
  from.on('pong', (data) => to.readyState === WebSocket.OPEN && to.pong(data));
  from.on('error', () => {});
  from.once('close', async (code, reason) => {
    clearTimeout(idle);
    await judging;
    if (to.readyState !== WebSocket.OPEN) return;
    if (code === CLOSE.noStatus) to.close();
    else if (code === CLOSE.abnormal || code === CLOSE.tlsFailed) to.terminate();
    else to.close(code, reason);
  });
}

/** As much as fits, in whole characters. */
function closeReason(text: string): string {
  let reason = text.slice(0, MAX_REASON_BYTES);
  while (Buffer.byteLength(reason) > MAX_REASON_BYTES) reason = reason.slice(0, -1);
  return reason;
}

/** The origin did not want a WebSocket: what it says instead is for the client. */
function passRefusal(response: IncomingMessage, socket: Socket, lingerMs: number): void {
  const lines = [`HTTP/1.1 ${response.statusCode} ${response.statusMessage ?? ''}`];
  for (const [name, value] of pairs(responseFields(response.rawHeaders))) lines.push(`${name}: ${value}`);
  socket.write(`${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`, 'latin1');
  response.pipe(socket, { end: false });
  response.on('error', () => socket.destroy());
  response.once('end', () => linger(socket, lingerMs));
}
