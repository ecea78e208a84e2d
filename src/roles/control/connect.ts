/** The process role finds its sidecar, which may be starting still, and makes sure that it is none of the sandbox. */
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CastellanError, errnoOf } from '../../errors.ts';
import { posix } from '../../kernel/posix.ts';
import { descriptorOf } from '../../kernel/socket-handle.ts';
import { roleLost } from '../channel.ts';
import { type Greeted, greet } from './greet.ts';
import { CONTROL_VERSION, type FromProcessRole, type FromSidecar } from './message.ts';
import { parseFromSidecar } from './parse.ts';
import { type ControlPlace, openControlPlace } from './place.ts';

export interface ControlConnectOptions {
  readonly path: string;
  /** Of the process role itself. */
  readonly uid: number;
  readonly pid: number;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs?: number;
}

export type SidecarPeer = Greeted<FromProcessRole, FromSidecar>;

/** Containers of a pod start one after the other, and images may have to be fetched in between. */
const CONNECT_DEADLINE_MS = 120_000;
const RETRY_MS = 100;
/** Where nobody serves yet, or is about to stop; everything else that goes wrong would go wrong again. */
const NOT_YET: readonly string[] = ['ENOENT', 'ECONNREFUSED', 'EAGAIN', 'ECONNRESET', 'EPIPE'];

/**
 * Connects, and exchanges greetings.
 * @throws CastellanError `timeout` where no sidecar took the connection in time, `role_lost` where somebody else did,
 *   `filesystem_refused` for a directory that the sandbox could change
 */
export async function connectToSidecar(options: ControlConnectOptions): Promise<SidecarPeer> {
  const { path, signal, deadlineMs = CONNECT_DEADLINE_MS } = options;
  const end = performance.now() + deadlineMs;
  let last = 'nobody listened';
  for (;;) {
    const attempt = await connectOnce(options);
    if (!('notYet' in attempt)) return attempt;
    last = attempt.notYet;
    if (performance.now() >= end)
      throw new CastellanError('timeout', `the sidecar did not take us at ${path}: ${last}`, {
        step: 'control-socket',
        object: path,
        remedy: 'see the log of the sidecar: it records whom it refuses, and why it does not start',
      });
    await sleep(RETRY_MS, undefined, signal && { signal });
  }
}

async function connectOnce(
  options: ControlConnectOptions,
): Promise<SidecarPeer | { readonly notYet: string }> {
  const { path, uid, pid } = options;
  let socket: Socket | undefined;
  try {
    using place = await openControlPlace(path, (owner) => owner !== uid);
    socket = connect(place.socket);
    await once(socket, 'connect');
    refuseServer(posix().peerCredentials(descriptorOf(socket)).uid, place, uid);
    const token = await readFile(place.tokenFile, 'latin1');
    const pidNamespace = readlinkSync('/proc/self/ns/pid');
    return await greet<FromProcessRole, FromSidecar, SidecarHello>(socket, parseFromSidecar, isSidecarHello, {
      type: 'hello',
      role: 'process',
      version: CONTROL_VERSION,
      pid,
      uid,
      pidNamespace,
      token,
    });
  } catch (error) {
    socket?.destroy();
    const errno = errnoOf(error) ?? (error instanceof CastellanError ? error.errno : undefined);
    if (errno !== undefined && NOT_YET.includes(errno)) return { notYet: errno };
    if (isClosed(error)) return { notYet: 'it closed the connection' };
    throw error;
  }
}

/** One that was refused is only closed. */
function isClosed(error: unknown): boolean {
  return (
    error instanceof CastellanError && error.code === 'role_lost' && error.message === 'the wire was closed'
  );
}

/** A socket that a process of the sandbox serves has its uid, and so ours. */
function refuseServer(server: number, { ownerUid }: ControlPlace, own: number): void {
  if (server !== own && (server === 0 || server === ownerUid)) return;
  throw roleLost(
    `uid ${server} serves the control socket, which is neither root’s nor its directory’s owner’s`,
  );
}

type SidecarHello = Extract<FromSidecar, { readonly type: 'hello' }>;

function isSidecarHello(message: FromSidecar): message is SidecarHello {
  return message.type === 'hello';
}
