import type { Socket } from 'node:net';
import type { RunConfig } from '../config/config.ts';
import type { Place } from '../config/place.ts';
import { posix } from '../kernel/posix.ts';
import { hasMoreFilters } from '../kernel/processes.ts';
import { descriptorOf } from '../kernel/socket-handle.ts';
import { type Answerer, type DoorStep, openDoor } from './door.ts';
import type { HandedSocket } from './handed-sockets.ts';
import { healthSocketIn } from './run-directory.ts';
import { openSocketPlace } from './socket-place.ts';

export interface Answerers {
  readonly probes: Answerer;
  readonly metrics: Answerer;
}

/**
 * Nothing hides the run directory from an agent that has the same uid: it would hold every place, and probes would fail. Its processes are
 * told from others by their filters, which nobody can take off. At once: who is looked at later has a place meanwhile.
 */
function isOfNoSandbox(socket: Socket): boolean {
  try {
    const { pid } = posix().peerCredentials(descriptorOf(socket));
    // 0 is somebody outside of our pid namespace, where the sandbox cannot be.
    return pid === 0 || !hasMoreFilters(pid);
  } catch {
    return false;
  }
}

/**
 * Opens the socket in the run directory, which answers everything because it is its owner's alone, and what the operator asked for or
 * handed over: probes at one place, metrics at another, because those who may ask differ.
 * @throws CastellanError `address_in_use`, `filesystem_refused`
 */
export async function openDoors(
  { mode, healthListener, metricsListener }: RunConfig,
  uid: number,
  runDirectory: string,
  handed: readonly HandedSocket[],
  { probes, metrics }: Answerers,
): Promise<AsyncDisposable> {
  await using opened = new AsyncDisposableStack();
  const both: Answerer = async (path) => (await probes(path)) ?? (await metrics(path));
  const own = { fd: posix().listenUnix(healthSocketIn(runDirectory), 0o600) };
  opened.use(await openDoor(own, 'health', both, mode === 'process-only' ? isOfNoSandbox : undefined));
  const open = async (place: Place | undefined, step: DoorStep, answer: Answerer): Promise<void> => {
    if (place === undefined) return;
    const where = 'path' in place ? { path: await openSocketPlace(place.path, uid, step) } : place;
    opened.use(await openDoor(where, step, answer));
  };
  await open(healthListener, 'health', probes);
  await open(metricsListener, 'metrics', metrics);
  for (const { name, descriptor: fd } of handed)
    if (name !== 'ssh') opened.use(await openDoor({ fd }, name, name === 'health' ? probes : metrics));
  return opened.move();
}
