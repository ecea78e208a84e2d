/** A door: a listener that answers small questions over HTTP, of probes and of who collects metrics. */
import { unlink } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer, type Socket } from 'node:net';
import type { Place } from '../config/place.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { listenAtPath } from '../kernel/unix-listener.ts';

export interface DoorAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** Undefined where it has nothing at that path. */
export type Answerer = (path: string) => Promise<DoorAnswer | undefined>;

/** What it is for, as errors name it. */
export type DoorStep = 'health' | 'metrics';

/** Who asks sends one small request; whoever holds a connection open instead is thrown out. */
const REQUEST_MS = 5000;
/** Node looks every 30 s by itself: who sends a byte now and then would hold a place for so long. */
const CHECK_MS = 1000;
/** Kubelets, engines and collectors ask one at a time, and are answered at once. Who has been there for longer than so many others waits for nothing. */
const MAX_CLIENTS = 16;
const SOCKET_MODE = 0o600;

/**
 * Answers at a place, or on a descriptor that listens already and is the door's from here on.
 * @param admits asked as somebody connects: whom it turns away takes no place
 * @throws CastellanError `address_in_use`, `filesystem_refused` where it cannot listen
 */
export async function openDoor(
  where: Place | { readonly fd: number },
  step: DoorStep,
  answer: Answerer,
  admits: (socket: Socket) => boolean = () => true,
): Promise<AsyncDisposable> {
  const clients = new Set<Socket>();
  const serve = lazyHttp(answer);
  const server = createServer((socket) => {
    socket.on('error', () => {});
    if (!admits(socket)) return void socket.destroy();
    const [oldest] = clients;
    if (clients.size >= MAX_CLIENTS) oldest?.destroy();
    clients.add(socket);
    socket.once('close', () => clients.delete(socket));
    serve(socket);
  });
  const listening = 'path' in where ? { fd: await listenAtPath(where.path, SOCKET_MODE, step) } : where;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject).listen(listening, resolve);
  await promise.catch((error: unknown) => {
    throw refused(where, step, error);
  });
  server.unref();
  return {
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy();
      await new Promise<void>((done) => server.close(() => done()));
      if ('path' in where) await unlink(where.path).catch(() => {});
    },
  };
}

function refused(where: Place | { readonly fd: number }, step: DoorStep, error: unknown): CastellanError {
  const object = 'port' in where ? `${where.host}:${where.port}` : `the ${step} socket`;
  const errno = errnoOf(error);
  const code = errno === 'EADDRINUSE' ? 'address_in_use' : 'filesystem_refused';
  return new CastellanError(code, `nobody can be answered on ${object}`, {
    step,
    object,
    remedy: 'choose an address of this machine that is free and may be listened on',
    ...(errno && { errno }),
  });
}

/** Node's HTTP is loaded for the first question: most runs have none. */
function lazyHttp(answer: Answerer): (socket: Socket) => void {
  let http: Server | undefined;
  return (socket) => {
    http ??= openHttp(answer);
    socket.setTimeout(REQUEST_MS, () => socket.destroy());
    http.emit('connection', socket);
  };
}

function openHttp(answer: Answerer): Server {
  // By import(), a bundle's compiled code would warn of an experiment on standard error.
  const { createServer: createHttp } = process.getBuiltinModule('node:http');
  const server = createHttp(
    { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS, connectionsCheckingInterval: CHECK_MS },
    async (request, response) => {
      const found = answer(request.url ?? '').catch(() => FAILED);
      const { status, type, body } = (await found) ?? NOT_FOUND;
      response.writeHead(status, { 'Content-Type': type, Connection: 'close' });
      response.end(body);
    },
  );
  server.emit('listening');
  return server;
}

/** Who asks may be gone by now, and is nobody's failure but its own. */
const FAILED: DoorAnswer = { status: 500, type: 'text/plain', body: 'no answer\n' };
const NOT_FOUND: DoorAnswer = { status: 404, type: 'text/plain', body: 'not found\n' };
