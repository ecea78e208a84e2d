/** The SSH server of a sandbox: a Unix socket for the owner, an ephemeral host key, sessions confined like the agent. */
import { unlink } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import type { PeerProcess, Report } from '../../audit/event.ts';
import { type SshAddress, showSshAddress } from '../../config/ssh-socket.ts';
import { posix } from '../../kernel/posix.ts';
import { descriptorOf } from '../../kernel/socket-handle.ts';
import type { Cell } from '../../launch/cell.ts';
import type { Launcher } from '../../launch/launch.ts';
import { within } from '../../launch/process.ts';
import { createForwardPlaces } from '../forward-places.ts';
import type { MainConsole } from '../main-console.ts';
import { type ConnectionReport, connectionReport } from '../report.ts';
import { generateHostKey } from './host-key.ts';
import { listenOnAddress, listenOnDescriptor } from './listen.ts';
import { refusePeer, refusePeerNow } from './peer.ts';

export interface SshServerOptions {
  /** Paths in directories that only the owner may enter, or abstract names. */
  readonly addresses: readonly SshAddress[];
  /** Descriptors that listen already, out of the sandbox's reach too; clients may be waiting in them. */
  readonly handed?: readonly number[];
  /** Told of the public part of the host key before anybody is served. */
  readonly onHostKey?: (hostKey: string) => Promise<void>;
  readonly launcher: Launcher;
  readonly cell: Cell;
  /** Who may connect: root and the owner of the run. */
  readonly allowedUids: readonly number[];
  /** Names of variables a client may set beside the harmless ones. */
  readonly environmentAllowList: readonly string[];
  readonly report: Report;
  /** Of the main process, where it is retained. */
  readonly mainConsole?: MainConsole | undefined;
}

export interface SshServer extends AsyncDisposable {
  /** Public part of the host key, as in known_hosts after the name. */
  readonly hostKey: string;
  /** Ends every session and resolves when their processes are gone. */
  close(): Promise<void>;
}

/** People and editors open a few each; more is a client gone wrong. */
const MAX_CONNECTIONS = 64;
/** Sessions end within their grace; what is stuck in the kernel after KILL must not keep the sandbox from ending. */
const CLOSE_DEADLINE_MS = 10_000;

/**
 * Starts listening.
 * @throws CastellanError `address_in_use`, `filesystem_refused`
 */
export async function startSshServer(options: SshServerOptions): Promise<SshServer> {
  const { addresses, report } = options;
  const key = generateHostKey();
  await options.onHostKey?.(key.public);
  const listeners = await listenOnAll(addresses, options.handed ?? []);
  const ending = new AbortController();
  const connections = new Set<Promise<void>>();
  const onError = (error: unknown) =>
    report({
      kind: 'internal-error',
      where: 'ssh',
      message: error instanceof Error ? error.message : String(error),
    });
  const forwardPlaces = createForwardPlaces();
  let accepted = 0;

  const serve = async (socket: Socket, facts: ConnectionReport) => {
    const refusal = await refusePeer(facts.peer, options.cell);
    if (refusal === undefined) {
      // With it comes ssh2, which runs that nobody connects to need not pay for.
      const { serveConnection } = await import('./connection.ts');
      return serveConnection(socket, {
        ...options,
        hostKey: key.private,
        report: facts,
        forwards: forwardPlaces.share(),
        onError,
        signal: ending.signal,
      });
    }
    facts.refused(refusal);
    socket.destroy();
  };
  const admit = (socket: Socket) => {
    accepted += 1;
    // Until the connection takes over, its failures concern nobody.
    socket.on('error', () => {});
    const facts = connectionReport(report, `ssh-${accepted}`, peerOf(socket));
    const refusal =
      refusePeerNow(facts.peer, options.allowedUids, options.cell) ??
      (connections.size < MAX_CONNECTIONS ? undefined : 'too many connections');
    if (refusal !== undefined) {
      facts.refused(refusal);
      socket.destroy();
      return;
    }
    const served = serve(socket, facts).catch((error: unknown) => {
      onError(error);
      socket.destroy();
    });
    connections.add(served);
    void served.finally(() => connections.delete(served));
  };
  for (const listener of listeners) {
    listener.on('connection', (socket) => {
      try {
        admit(socket);
      } catch (error) {
        onError(error);
        socket.destroy();
      }
    });
    listener.on('error', onError);
  }
  for (const address of addresses) report({ kind: 'ssh-listening', path: showSshAddress(address) });

  const close = async () => {
    if (ending.signal.aborted) return;
    ending.abort();
    const closed = listeners.map((each) => new Promise<void>((resolve) => each.close(() => resolve())));
    for (const address of addresses) if (address.kind === 'path') await unlink(address.path).catch(() => {});
    await within(Promise.all([...closed, ...connections]), CLOSE_DEADLINE_MS);
  };
  return { hostKey: key.public, close, [Symbol.asyncDispose]: close };
}

/** All or none. */
async function listenOnAll(addresses: readonly SshAddress[], handed: readonly number[]): Promise<Server[]> {
  const listeners: Server[] = [];
  try {
    for (const address of addresses) listeners.push(await listenOnAddress(address));
    for (const descriptor of handed) listeners.push(await listenOnDescriptor(descriptor));
    return listeners;
  } catch (error) {
    for (const listener of listeners) listener.close();
    throw error;
  }
}

function peerOf(socket: Socket): PeerProcess {
  const descriptor = descriptorOf(socket);
  if (descriptor < 0) throw new Error('the connection has closed already');
  return posix().peerCredentials(descriptor);
}
