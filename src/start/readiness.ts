/** How far a run has come, for whoever looks after it: probes, and the service manager. */
import type { Surroundings } from '../config/surroundings.ts';
import { readVariable } from '../config/variables.ts';
import { posix } from '../kernel/posix.ts';
import type { Answerer } from './door.ts';

export type Phase = 'starting' | 'ready' | 'stopping';

export interface Readiness extends Disposable {
  enter(phase: Phase): void;
  readonly answer: Answerer;
}

/** By name, whether the answer is yes in a phase. Kubernetes' words for its three probes. */
const PROBES = {
  live: () => true,
  startup: (phase: Phase) => phase !== 'starting',
  ready: (phase: Phase) => phase === 'ready',
} as const;
export type Probe = keyof typeof PROBES;
export const PROBE_NAMES = Object.keys(PROBES) as readonly Probe[];

/** Answers /live, /startup and /ready by the phase of the moment. */
export function probeAnswerer(phase: () => Phase): Answerer {
  return async (path) => {
    const name = PROBE_NAMES.find((probe) => path === `/${probe}`);
    if (name === undefined) return undefined;
    const body = `${JSON.stringify({ status: phase() })}\n`;
    return { status: PROBES[name](phase()) ? 200 : 503, type: 'application/json', body };
  };
}

/** Answers probes, and tells the service manager of each phase and of life. */
export function openReadiness(surroundings: Surroundings): Readiness {
  let phase: Phase = 'starting';
  const tell = serviceManager(surroundings);
  return {
    enter(next) {
      phase = next;
      if (next === 'ready') tell.notify('READY=1');
      if (next === 'stopping') tell.notify('STOPPING=1');
    },
    answer: probeAnswerer(() => phase),
    [Symbol.dispose]: () => tell[Symbol.dispose](),
  };
}

/** The path of the socket that sd_notify(3) writes to; an abstract one has none, and is not in the sandbox's network. */
export function managerSocket({ environment }: Surroundings): string | undefined {
  const address = readVariable(environment, 'NOTIFY_SOCKET');
  return address?.startsWith('/') ? address : undefined;
}

interface ServiceManager extends Disposable {
  notify(state: string): void;
}

/** sd_notify(3) to who started us, where there is one; its watchdog is fed for as long as this process takes turns. */
function serviceManager({ environment, pid, initPid }: Surroundings): ServiceManager {
  const socket = readVariable(environment, 'NOTIFY_SOCKET');
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
function watchdogMs(environment: Surroundings['environment'], own: readonly number[]): number | undefined {
  const limit = readVariable(environment, 'WATCHDOG_USEC');
  const watched = readVariable(environment, 'WATCHDOG_PID');
  if (limit === undefined || !/^[1-9]\d{3,14}$/.test(limit)) return undefined;
  if (watched !== undefined && !own.includes(Number(watched))) return undefined;
  return Math.min(Number(limit) / 2000, 2 ** 31 - 1);
}
