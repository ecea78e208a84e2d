/** How far a run has come, for whoever looks after it: probes over HTTP, and the service manager. */
import type { Server } from 'node:http';
import { createServer, type Socket } from 'node:net';
import type { ListenAddress } from '../config/listen-address.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { posix } from '../kernel/posix.ts';
import { healthSocketIn } from './run-directory.ts';

export type Phase = 'starting' | 'ready' | 'stopping';

export interface Readiness extends AsyncDisposable {
  enter(phase: Phase): void;
}

export interface ReadinessOptions {
  readonly runDirectory: string;
  readonly listener: ListenAddress | undefined;
  readonly surroundings: Surroundings;
}

/** By name, whether the answer is yes in a phase. Kubernetes' words for its three probes. */
const PROBES = {
  live: () => true,
  startup: (phase: Phase) => phase !== 'starting',
  ready: (phase: Phase) => phase === 'ready',
} as const;
export type Probe = keyof typeof PROBES;
export const PROBE_NAMES = Object.keys(PROBES) as readonly Probe[];

/** A probe sends one small request; whoever holds a connection open instead is thrown out. */
const REQUEST_MS = 5000;
/** Kubelets and engines ask one at a time. */
const MAX_CLIENTS = 16;

/**
 * Answers probes from now on, and tells the service manager of each phase.
 * @throws CastellanError `address_in_use`, `filesystem_refused` where it cannot listen
 */
export async function openReadiness({
  runDirectory,
  listener,
  surroundings,
}: ReadinessOptions): Promise<Readiness> {
  let phase: Phase = 'starting';
  await using opened = new AsyncDisposableStack();
  const socket = { fd: posix().listenUnix(healthSocketIn(runDirectory), 0o600) };
  opened.use(await answerProbes(socket, () => phase));
  if (listener !== undefined) opened.use(await answerProbes(listener, () => phase));
  const tell = opened.use(serviceManager(surroundings));
  const kept = opened.move();
  return {
    enter(next) {
      phase = next;
      if (next === 'ready') tell.notify('READY=1');
      if (next === 'stopping') tell.notify('STOPPING=1');
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/**
 * Answers GET /live, /startup and /ready by the phase of the moment.
 * @throws CastellanError `address_in_use`, `filesystem_refused` where it cannot listen
 */
export async function answerProbes(
  where: ListenAddress | { readonly fd: number },
  phase: () => Phase,
): Promise<AsyncDisposable> {
  const serve = lazyHttp(phase);
  const clients = new Set<Socket>();
  const server = createServer((socket) => {
    socket.on('error', () => {});
    clients.add(socket);
    socket.once('close', () => clients.delete(socket));
    serve(socket);
  });
  server.maxConnections = MAX_CLIENTS;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject).listen(where, resolve);
  try {
    await promise;
  } catch (error) {
    const object = 'port' in where ? `${where.host}:${where.port}` : 'the health socket';
    const errno = errnoOf(error);
    const code = errno === 'EADDRINUSE' ? 'address_in_use' : 'filesystem_refused';
    throw new CastellanError(code, `probes cannot be answered on ${object}`, {
      step: 'health',
      object,
      ...(errno && { errno }),
    });
  }
  server.unref();
  return {
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}

/** Node's HTTP is loaded for the first probe: most runs have none. */
function lazyHttp(phase: () => Phase): (socket: Socket) => void {
  let http: Promise<Server> | undefined;
  return (socket) => {
    http ??= import('node:http').then(({ createServer: createHttp }) => {
      const server = createHttp(
        { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS },
        (request, response) => {
          const name = PROBE_NAMES.find((probe) => request.url === `/${probe}`);
          const yes = name !== undefined && PROBES[name](phase());
          const status = name === undefined ? 404 : yes ? 200 : 503;
          response.writeHead(status, { 'Content-Type': 'application/json', Connection: 'close' });
          response.end(`${JSON.stringify({ status: phase() })}\n`);
        },
      );
      server.emit('listening');
      return server;
    });
    socket.setTimeout(REQUEST_MS, () => socket.destroy());
    void http.then((server) => server.emit('connection', socket));
  };
}

interface ServiceManager extends Disposable {
  notify(state: string): void;
}

/** sd_notify(3) to who started us, where there is one; its watchdog is fed for as long as this process takes turns. */
function serviceManager({ environment, pid, initPid }: Surroundings): ServiceManager {
  const socket = environment['NOTIFY_SOCKET'];
  const notify = (state: string): void => {
    if (socket === undefined) return;
    try {
      posix().sendDatagram(socket, state);
    } catch {
      // Nobody is there to be told; the run is no worse for it.
    }
  };
  const everyMs = watchdogMs(environment, [pid, initPid ?? pid]);
  if (everyMs === undefined || socket === undefined) return { notify, [Symbol.dispose]() {} };
  const timer = setInterval(() => notify('WATCHDOG=1'), everyMs).unref();
  return { notify, [Symbol.dispose]: () => clearInterval(timer) };
}

/** Half the time after which the manager gives up, as sd_watchdog_enabled(3) asks for. Undefined where it does not watch us. */
function watchdogMs(
  { WATCHDOG_USEC: limit, WATCHDOG_PID: watched }: Surroundings['environment'],
  own: readonly number[],
): number | undefined {
  if (limit === undefined || !/^[1-9]\d{3,14}$/.test(limit)) return undefined;
  if (watched !== undefined && !own.includes(Number(watched))) return undefined;
  return Math.min(Number(limit) / 2000, 2 ** 31 - 1);
}
