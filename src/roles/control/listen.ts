/** The sidecar waits for the one process role of its pod. Whoever else connects is refused, recorded, and uses nothing up. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { chmod, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import type { PeerProcess, Report } from '../../audit/event.ts';
import { posix } from '../../kernel/posix.ts';
import { descriptorOf } from '../../kernel/socket-handle.ts';
import { listenAtPath } from '../../kernel/unix-listener.ts';
import { roleLost } from '../channel.ts';
import { type Greeted, greet } from './greet.ts';
import { CONTROL_VERSION, type FromProcessRole, type FromSidecar } from './message.ts';
import { parseFromProcessRole } from './parse.ts';
import { openControlPlace } from './place.ts';

export interface ControlListenOptions {
  readonly path: string;
  /** Of the sidecar itself. */
  readonly uid: number;
  readonly pid: number;
  /** The only uid that is taken; undefined takes any but root, the sidecar's and the exempt one. */
  readonly sandboxUid: number | undefined;
  /** Whom the fence of the pod lets out. */
  readonly exemptUid: number;
  /** How programs are told apart takes that the process role can be seen from here. */
  readonly mustBeVisible: boolean;
  readonly report: Report;
}

export interface ProcessPeer extends Greeted<FromSidecar, FromProcessRole> {
  /** `pid` is 0 where its pid namespace cannot be seen from here. */
  readonly peer: PeerProcess;
}

export interface ControlListener extends AsyncDisposable {
  /** The process role. By then nothing listens any more, and the path is gone. */
  readonly accepted: Promise<ProcessPeer>;
}

/** Another uid has to connect: who it is decides, and not the mode. */
const SOCKET_MODE = 0o666;
const TOKEN_BYTES = 32;
/** At once; the process role tries again where others take all places. */
const MAX_CANDIDATES = 8;
/** How long a refused connection keeps its place, which bounds how often anybody can try. */
const REFUSAL_MS = 100;
/** Further refusals are told in one sum: who is refused must not choose how long the log gets. */
const MAX_RECORDED = 16;

/**
 * Listens from now on.
 * @throws CastellanError `filesystem_refused`, `address_in_use`
 */
export async function listenForProcessRole(options: ControlListenOptions): Promise<ControlListener> {
  await using undo = new AsyncDisposableStack();
  const mayOwn = (uid: number): boolean => [options.uid, options.exemptUid, 0].includes(uid);
  const place = undo.use(await openControlPlace(options.path, mayOwn));
  const descriptor = await listenAtPath(place.socket, SOCKET_MODE, 'control-socket', options.path);
  undo.defer(() => rm(place.socket, { force: true }));
  const server = createServer({ pauseOnConnect: true });
  server.maxConnections = MAX_CANDIDATES;
  const token = randomBytes(TOKEN_BYTES).toString('hex');
  undo.defer(() => rm(place.tokenFile, { force: true }));
  await writeToken(place.tokenFile, token);
  const { promise: accepted, resolve } = Promise.withResolvers<ProcessPeer>();
  const refusals = countRefusals(options.report);
  undo.defer(() => refusals.tell());
  const candidates = new Set<Socket>();
  let isOver = false;
  const finish = async (): Promise<void> => {
    if (isOver) return;
    isOver = true;
    await kept.disposeAsync();
  };
  undo.defer(() => closeServer(server, candidates));
  server.on('connection', (socket) => {
    candidates.add(socket);
    socket.once('close', () => candidates.delete(socket));
    socket.on('error', () => {});
    void admit(socket, token, options).then(async (admitted) => {
      if ('refused' in admitted) {
        refusals.add(admitted);
        setTimeout(() => socket.destroy(), REFUSAL_MS).unref();
      } else if (isOver) socket.destroy();
      else {
        candidates.delete(socket);
        await finish();
        resolve(admitted);
      }
    });
  });
  server.listen({ fd: descriptor });
  await once(server, 'listening');
  const kept = undo.move();
  return { accepted, [Symbol.asyncDispose]: finish };
}

/** Readable for everybody whom permissions alone keep out, and so for nobody whom Landlock confines. */
async function writeToken(path: string, token: string): Promise<void> {
  await rm(path, { force: true });
  await writeFile(path, token, { mode: 0o444, flag: 'wx' });
  await chmod(path, 0o444);
}

async function closeServer(server: Server, candidates: ReadonlySet<Socket>): Promise<void> {
  for (const socket of candidates) socket.destroy();
  server.close();
}

interface Refused {
  readonly peer: PeerProcess;
  readonly refused: string;
}

/** Never rejects. */
async function admit(
  socket: Socket,
  token: string,
  options: ControlListenOptions,
): Promise<ProcessPeer | Refused> {
  let peer: PeerProcess = { pid: 0, uid: 0, gid: 0 };
  try {
    peer = posix().peerCredentials(descriptorOf(socket));
    const stranger = refuseUid(peer.uid, options);
    if (stranger !== undefined) return { peer, refused: stranger };
    if (options.mustBeVisible && peer.pid === 0)
      return { peer, refused: 'it is in a pid namespace that cannot be seen from here' };
    const greeted = await greet<FromSidecar, FromProcessRole, ProcessHello>(
      socket,
      parseFromProcessRole,
      isProcessHello,
    );
    const problem = refuseHello(greeted.hello, peer, token);
    if (problem === undefined) {
      greeted.channel.send({
        type: 'hello',
        role: 'network',
        version: CONTROL_VERSION,
        pid: options.pid,
        uid: options.uid,
      });
      return { ...greeted, peer };
    }
    greeted.channel.fail(roleLost(problem));
    return { peer, refused: problem };
  } catch (error) {
    return { peer, refused: error instanceof Error ? error.message : String(error) };
  }
}

function refuseUid(
  uid: number,
  { sandboxUid, exemptUid, uid: own }: ControlListenOptions,
): string | undefined {
  if (uid === exemptUid || uid === own || uid === 0) return `uid ${uid} is nobody of the sandbox`;
  if (sandboxUid !== undefined && uid !== sandboxUid)
    return `uid ${uid} is not the sandbox’s, which is ${sandboxUid}`;
  return undefined;
}

type ProcessHello = Extract<FromProcessRole, { readonly type: 'hello' }>;

function isProcessHello(message: FromProcessRole): message is ProcessHello {
  return message.type === 'hello';
}

function refuseHello(hello: ProcessHello, peer: PeerProcess, token: string): string | undefined {
  const said = Buffer.from(hello.token);
  const wanted = Buffer.from(token);
  if (said.length !== wanted.length || !timingSafeEqual(said, wanted))
    return 'it did not read the token beside the socket: something confines it, or it is of an earlier run';
  if (hello.uid !== peer.uid) return `it says that it is uid ${hello.uid}`;
  const isOfOurs = hello.pidNamespace === readlinkSync('/proc/self/ns/pid');
  if (isOfOurs && hello.pid !== peer.pid) return `it says that it is process ${hello.pid}`;
  return undefined;
}

function countRefusals(report: Report): { add(refused: Refused): void; tell(): void } {
  let count = 0;
  return {
    add({ peer, refused: reason }) {
      count += 1;
      if (count <= MAX_RECORDED) report({ kind: 'control-refused', peer, reason });
    },
    tell() {
      if (count <= MAX_RECORDED) return;
      const message = `${count - MAX_RECORDED} further connections to the control socket were refused`;
      report({ kind: 'internal-error', where: 'control-socket', message });
    },
  };
}
