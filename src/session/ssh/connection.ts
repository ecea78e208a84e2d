/** One SSH connection, from the first byte to the last process started through it. */
import type { Socket } from 'node:net';
import ssh2, { type AuthContext, type Connection, type Server, type Session } from 'ssh2';
import { within } from '../../launch/process.ts';
import type { ForwardShare } from '../forward-places.ts';
import type { ConnectionReport } from '../report.ts';
import type { SessionPlace } from '../session.ts';
import { serveChannel } from './channel.ts';
import { serveForwards } from './forward.ts';
import { refuseTinyPackets } from './open-failure.ts';

export interface ConnectionOptions extends SessionPlace {
  /** OpenSSH private key text. */
  readonly hostKey: string;
  readonly environmentAllowList: readonly string[];
  readonly report: ConnectionReport;
  readonly forwards: ForwardShare;
  readonly onError: (error: unknown) => void;
  /** Ends the connection. */
  readonly signal: AbortSignal;
}

/** The client is a program on this machine; whoever connects and says nothing holds one of few places. */
const AUTHENTICATION_DEADLINE_MS = 30_000;
/** As OpenSSH's own limit on what one connection may multiplex, with room for editors. */
const MAX_CHANNELS = 32;
/**
 * The socket tells when a client dies, so this is only for one that was relayed from elsewhere. A client that
 * somebody stopped (Ctrl-Z) is not dead: an hour of silence is.
 */
const KEEPALIVE_INTERVAL_MS = 30_000;
const KEEPALIVE_COUNT = 120;
/** For the client to read the last bytes and close its side. */
const CLOSE_DEADLINE_MS = 1000;
/**
 * A client whose last channel has closed is about to go by itself, with the exit status; OpenSSH's forgets it, and says
 * 255, when it is told to go in that moment.
 */
const LEAVE_MS = 300;

/** Authenticated ciphers only; no compression, which is code that runs on a client's input. */
const ALGORITHMS = {
  kex: ['curve25519-sha256', 'curve25519-sha256@libssh.org', 'ecdh-sha2-nistp256'],
  cipher: ['chacha20-poly1305@openssh.com', 'aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'],
  compress: ['none'],
} as const;

/** Serves a connection whose peer was let in. Resolves when it has closed and everything started through it has ended. */
export async function serveConnection(socket: Socket, options: ConnectionOptions): Promise<void> {
  const { report, signal } = options;
  const gone = new AbortController();
  const sessions = new Set<Promise<void>>();
  let forwards: ReadonlySet<Promise<void>> = new Set();
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.once('close', () => gone.abort());
  let client: Connection | undefined;
  const server = makeServer(options.hostKey, (connection) => {
    client = connection;
    authenticate(connection);
    connection.on('ready', () => {
      clearTimeout(deadline);
      report.opened();
    });
    const sessionId = sessionIds(report.sessionId);
    refuseRequests(connection, report);
    forwards = serveForwards(connection, { ...options, sessionId, gone: gone.signal });
    acceptSessions(connection, sessions, { ...options, sessionId }, gone.signal);
    connection.on('error', (error: Error & { level?: string }) => {
      // A client that goes away is no protocol error.
      if (error.level !== 'socket') report.refused(`protocol error: ${error.message}`);
      socket.destroySoon();
    });
    refuseTinyPackets(connection, report);
  });
  const deadline = setTimeout(() => {
    report.refused('authentication took too long');
    socket.destroy();
  }, AUTHENTICATION_DEADLINE_MS);
  const end = async () => {
    const leaving = client !== undefined && sessions.size === 0;
    gone.abort();
    if (leaving) await within(closed, LEAVE_MS);
    client?.end();
    if (!(await within(closed, CLOSE_DEADLINE_MS))) socket.destroy();
  };
  signal.addEventListener('abort', end, { once: true });
  server.injectSocket(socket);
  if (signal.aborted) end();
  await closed;
  signal.removeEventListener('abort', end);
  clearTimeout(deadline);
  await Promise.all([...sessions, ...forwards]);
  report.closed();
}

/** A server object for one connection, as ssh2 tells a shared one's listener nothing of the socket. */
function makeServer(hostKey: string, listener: (connection: Connection) => void): Server {
  const { kex, cipher, compress } = ALGORITHMS;
  return new ssh2.Server(
    {
      hostKeys: [hostKey],
      algorithms: { kex: [...kex], cipher: [...cipher], compress: [...compress] },
      ident: 'castellan',
      keepaliveInterval: KEEPALIVE_INTERVAL_MS,
      keepaliveCountMax: KEEPALIVE_COUNT,
    },
    listener,
  );
}

/**
 * Access control is the socket: its directory and mode, the peer's uid and namespaces. A secret on top would have to be
 * readable by the same people, so `none` is the method.
 */
function authenticate(connection: Connection): void {
  connection.on('authentication', (context: AuthContext) => {
    if (context.method === 'none') context.accept();
    else context.reject(['none']);
  });
}

/** Of channels of one connection, sessions and forwards alike. */
function sessionIds(connectionId: string): () => string {
  let channels = 0;
  return () => `${connectionId}.${++channels}`;
}

/** What the client's side would listen for leads out of the sandbox, past the policy. */
function refuseRequests(connection: Connection, report: ConnectionReport): void {
  connection.on('request', (_accept: unknown, reject: (() => void) | undefined, name: string) => {
    report.refused(`request ${name} is not offered`);
    reject?.();
  });
}

function acceptSessions(
  connection: Connection,
  sessions: Set<Promise<void>>,
  options: ConnectionOptions & { readonly sessionId: () => string },
  gone: AbortSignal,
): void {
  connection.on('session', (accept: () => Session | undefined, reject: () => void) => {
    const sessionId = options.sessionId();
    if (sessions.size >= MAX_CHANNELS || gone.aborted) {
      options.report.refused('too many channels', sessionId);
      reject();
      return;
    }
    const session = accept();
    if (session === undefined) return;
    const served = serveChannel(session, { ...options, sessionId, gone }).catch(options.onError);
    sessions.add(served);
    void served.finally(() => sessions.delete(served));
  });
}
