import type { SignalName } from '../config/surroundings.ts';
import { exitStatus } from '../launch/process.ts';

/** These ask for an end. HUP may mean "reload" to a command, so it is only passed on. */
const STOP_SIGNALS: readonly SignalName[] = ['SIGINT', 'SIGTERM', 'SIGQUIT'];

export function isStopSignal(name: SignalName): boolean {
  return STOP_SIGNALS.includes(name);
}

/** What the shell sees of a process that a signal ended. */
export function signalExitCode(name: SignalName): number {
  return exitStatus(null, name).exitCode;
}

/** Signals from the first moment on: held until somebody takes them, so that none is lost while the sandbox is being made. */
export interface SignalInbox extends Disposable {
  /** The first signal that asked for an end, while nobody has taken them yet. */
  readonly stopRequest: SignalName | undefined;
  /** Aborted by the first request for an end. */
  readonly stopping: AbortSignal;
  /**
   * Somebody asks for an end by other means: as TERM, once. What shuts a pod down tells both of its containers, so that the next
   * such signal is taken as the same request, and does not hurry it.
   */
  readonly ask: () => void;
  /** Hands over what came so far, then each as it comes. */
  take(handler: (name: SignalName) => void): void;
}

export function openSignalInbox(onSignal: (listener: (name: SignalName) => void) => Disposable): SignalInbox {
  const waiting: SignalName[] = [];
  let handler = (name: SignalName): void => void waiting.push(name);
  const stopping = new AbortController();
  let isOwed = false;
  const subscription = onSignal((name) => {
    if (isStopSignal(name)) {
      stopping.abort();
      if (isOwed) {
        isOwed = false;
        return;
      }
    }
    handler(name);
  });
  return {
    stopping: stopping.signal,
    ask() {
      if (stopping.signal.aborted) return;
      stopping.abort();
      isOwed = true;
      handler('SIGTERM');
    },
    get stopRequest() {
      return waiting.find(isStopSignal);
    },
    take(next) {
      handler = next;
      for (const name of waiting.splice(0)) next(name);
    },
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  };
}
