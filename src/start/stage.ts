import { channel } from 'node:diagnostics_channel';
import type { SignalName } from '../config/surroundings.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import type { RunStage, StageName, StagePlan } from './plan.ts';

/** A start that was told to end before the command ran: no refusal, so not a CastellanError. */
export class StartInterrupted extends Error {
  readonly signal: SignalName;

  constructor(signal: SignalName) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

/** The stage that starts the command. */
const LAUNCH: StageName = 'launch';

/**
 * Makes the runner of one start. A stage that fails with anything but a CastellanError becomes `internal`, with the
 * stage as its step, so that every refusal names where it happened. No stage begins after a signal that asks for an end,
 * unless the command runs already: then it is asked, and has its grace.
 */
export function stageRunner<Plan extends StagePlan>(
  plan: Plan,
  stopRequest: () => SignalName | undefined,
): RunStage<Plan[number][0]> {
  const order = plan.map(([name]) => name);
  // For whoever measures a start from inside the process: nobody, unless scripts/profile-start.ts does.
  const observers = channel('castellan:stage');
  let next = 0;
  return async (name, work) => {
    if (order[next] !== name)
      throw new CastellanError('internal', `stage ${name} ran where ${order[next]} was planned`, {
        step: name,
      });
    next += 1;
    const signal = stopRequest();
    if (signal !== undefined && !order.slice(0, next - 1).includes(LAUNCH))
      throw new StartInterrupted(signal);
    observers.publish({ name, begins: true });
    try {
      const result = await work();
      observers.publish({ name, begins: false });
      return result;
    } catch (error) {
      if (error instanceof CastellanError) throw error;
      const interruption = stopRequest();
      if (interruption !== undefined && error instanceof Error && error.name === 'AbortError')
        throw new StartInterrupted(interruption);
      const errno = errnoOf(error);
      const message = error instanceof Error ? error.message : String(error);
      throw new CastellanError('internal', message, { step: name, cause: error, ...(errno && { errno }) });
    }
  };
}
