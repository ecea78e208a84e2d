/** A FORWARD: destination → place → connection, made in the cell → channel → relay → record. */
import { Socket } from 'node:net';
import type { Connection, ServerChannel } from 'ssh2';
import type { ForwardRefusal } from '../../audit/event.ts';
import { CastellanError } from '../../errors.ts';
import type { Cell } from '../../launch/cell.ts';
import { confineConnection } from '../../launch/confine.ts';
import type { Launcher } from '../../launch/launch.ts';
import { type ConnectTarget, showTarget } from '../../launch/spec.ts';
import { type Destination, tcpDestination, unixDestination } from '../forward-destination.ts';
import type { ForwardShare } from '../forward-places.ts';
import type { ConnectionReport } from '../report.ts';
import { relayForward } from './forward-relay.ts';
import { refuseOpen } from './open-failure.ts';

export interface ForwardOptions {
  readonly launcher: Launcher;
  readonly cell: Cell;
  readonly report: ConnectionReport;
  readonly forwards: ForwardShare;
  /** For each forward anew. */
  readonly sessionId: () => string;
  /** The connection is gone, or the run is over. */
  readonly gone: AbortSignal;
  readonly onError: (error: unknown) => void;
}

interface Asked {
  readonly sessionId: string;
  readonly destination: Destination;
  /** As the client wrote it. */
  readonly target: string;
  accept(): ServerChannel | undefined;
  refuse(why: ForwardRefusal, reason: string): void;
}

type Accept = () => ServerChannel | undefined;

/** Serves what clients ask for by `ssh -L`, `-W` and `-D`; the set has those that are under way. */
export function serveForwards(connection: Connection, options: ForwardOptions): ReadonlySet<Promise<void>> {
  const { report, onError } = options;
  const underWay = new Set<Promise<void>>();
  const begin = (destination: Destination, target: string, accept: Accept, reject: () => void) => {
    const sessionId = options.sessionId();
    const refuse = (why: ForwardRefusal, reason: string) => {
      report.forwardRefused(sessionId, target, why, reason);
      refuseOpen(connection, reject, why, reason);
    };
    const served = serveForward({ sessionId, destination, target, accept, refuse }, options).catch(onError);
    underWay.add(served);
    void served.finally(() => underWay.delete(served));
  };
  connection.on(
    'tcpip',
    (accept: Accept, reject: () => void, { destIP, destPort }: { destIP: string; destPort: number }) =>
      begin(tcpDestination(destIP, destPort), `${destIP}:${destPort}`, accept, reject),
  );
  connection.on(
    'openssh.streamlocal',
    (accept: Accept, reject: () => void, { socketPath }: { socketPath: string }) =>
      begin(unixDestination(socketPath), socketPath, accept, reject),
  );
  return underWay;
}

async function serveForward(asked: Asked, options: ForwardOptions): Promise<void> {
  const { sessionId, destination } = asked;
  const { gone, report, forwards } = options;
  if (!destination.ok) return asked.refuse('prohibited', destination.reason);
  using place = forwards.take();
  if (place === undefined) return asked.refuse('shortage', 'there are too many forwards');
  let made: Made;
  try {
    made = await connectFirst(destination.targets, options);
  } catch (error) {
    const isKnown = error instanceof CastellanError;
    asked.refuse('failed', isKnown ? error.message : 'the connection could not be made');
    if (isKnown) return;
    throw error;
  }
  const { socket, target } = made;
  const channel = gone.aborted ? undefined : asked.accept();
  if (channel === undefined) return void socket.destroy();
  const reportClosed = report.forwarded(sessionId, showTarget(target));
  const end = await relayForward(channel, socket, gone);
  reportClosed(end, { bytesIn: socket.bytesWritten, bytesOut: socket.bytesRead });
}

interface Made {
  readonly socket: Socket;
  readonly target: ConnectTarget;
}

/** Throws what the last of them failed with. */
async function connectFirst(
  targets: readonly ConnectTarget[],
  { launcher, cell, gone }: ForwardOptions,
): Promise<Made> {
  let failure: unknown;
  for (const target of targets) {
    try {
      const descriptor = await launcher.connect(confineConnection(cell, target), { signal: gone });
      const socket = new Socket({ fd: descriptor, allowHalfOpen: true, readable: true, writable: true });
      // Whoever talks little by little means it.
      socket.setNoDelay(true);
      socket.on('error', () => {});
      return { socket, target };
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
