/** The main process and everything that can end a run: its own exit, a signal, the loss of a role or of the audit log. */
import type { SignalName } from '../config/surroundings.ts';
import type { CastellanError } from '../errors.ts';
import type { MainProcess } from '../session/main-process.ts';
import { isStopSignal, type SignalInbox } from './signals.ts';

export interface Ending {
  readonly exitCode: number;
  readonly reason: string;
  /** Set when castellan itself is why. */
  readonly error?: CastellanError;
}

export interface EndingSources {
  readonly main: MainProcess;
  readonly graceMs: number;
  readonly signals: SignalInbox;
  /** Each settles with the reason why the sandbox cannot go on. */
  readonly losses: readonly Promise<CastellanError>[];
  /** What the limits of the sandbox did to it, in words. */
  readonly incidents: () => Promise<readonly string[]>;
}

/**
 * Waits for the end of the run. Signals go to the command's process group; one that asks for an end also starts the
 * grace, after which the group is killed.
 */
export async function awaitEnding({
  main,
  graceMs,
  signals,
  losses,
  incidents,
}: EndingSources): Promise<Ending> {
  let timer: NodeJS.Timeout | undefined;
  let asked: SignalName | undefined;
  signals.take((name) => {
    if (!isStopSignal(name)) return main.signal(name);
    main.signal(asked === undefined ? name : 'SIGKILL');
    asked ??= name;
    timer ??= setTimeout(() => main.signal('SIGKILL'), graceMs);
  });
  try {
    const lost = losses.map((loss) =>
      loss.then((error): Ending => ({ exitCode: error.exitCode, reason: error.message, error })),
    );
    const exited = main.ended.then(async ({ exitCode, signal }): Promise<Ending> => {
      const how = signal === undefined ? `with ${exitCode}` : `by ${signal}`;
      const asking = asked === undefined ? '' : ` after ${asked}`;
      return { exitCode, reason: [`the command ended ${how}${asking}`, ...(await incidents())].join('; ') };
    });
    return await Promise.race([exited, ...lost]);
  } finally {
    clearTimeout(timer);
  }
}
