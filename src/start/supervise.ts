/** The main process and everything that can end a run: its own exit, a signal, its time limit, the loss of a role or of the audit log. */
import type { SignalName } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import type { ExitStatus } from '../launch/process.ts';
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
  /** From now; undefined lets it run. */
  readonly timeLimitMs: number | undefined;
  readonly signals: SignalInbox;
  /** Told when somebody, or the time limit, asks for the end; perhaps more than once. */
  readonly onStop: () => void;
  /** For SIGHUP in the place of passing it on. */
  readonly reload: (() => void) | undefined;
  /** Each settles with the reason why the sandbox cannot go on. */
  readonly losses: readonly Promise<CastellanError>[];
  /** What the limits of the sandbox did to it, in words. */
  readonly incidents: () => Promise<readonly string[]>;
}

/**
 * Waits for the end of the run. Signals go to the command's process group; one that asks for an end also starts the
 * grace, after which the group is killed. So does the time limit, as TERM.
 */
export async function awaitEnding(sources: EndingSources): Promise<Ending> {
  const { main, graceMs, timeLimitMs, signals, onStop, reload, losses, incidents } = sources;
  let kill: NodeJS.Timeout | undefined;
  let asked: SignalName | undefined;
  let timedOut = false;
  const askToEnd = (name: SignalName) => {
    onStop();
    main.signal(asked === undefined ? name : 'SIGKILL');
    asked ??= name;
    kill ??= setTimeout(() => main.signal('SIGKILL'), graceMs);
  };
  signals.take((name) => {
    if (isStopSignal(name)) askToEnd(name);
    else if (name === 'SIGHUP' && reload !== undefined) reload();
    else main.signal(name);
  });
  const onLimit = () => {
    // One that is ending already keeps its grace.
    if (asked !== undefined) return;
    timedOut = true;
    askToEnd('SIGTERM');
    // A stopped process acts on nothing but KILL until it goes on.
    main.signal('SIGCONT');
  };
  const limit = timeLimitMs === undefined ? undefined : setTimeout(onLimit, timeLimitMs);
  try {
    const lost = losses.map((loss) =>
      loss.then((error): Ending => ({ exitCode: error.exitCode, reason: error.message, error })),
    );
    const exited = main.ended.then(async (status): Promise<Ending> => {
      if (timedOut) return timeOut(status, timeLimitMs ?? 0);
      const { exitCode, reason } = ending(status, asked);
      return { exitCode, reason: [reason, ...(await incidents())].join('; ') };
    });
    return await Promise.race([exited, ...lost]);
  } finally {
    clearTimeout(kill);
    clearTimeout(limit);
  }
}

function ending(status: ExitStatus, asked: SignalName | undefined): Ending {
  const after = asked === undefined ? '' : ` after ${asked}`;
  return { exitCode: status.exitCode, reason: `the command ended ${how(status)}${after}` };
}

function timeOut(status: ExitStatus, limitMs: number): Ending {
  const reason = `the command reached its time limit of ${limitMs / 1000} s and ended ${how(status)}`;
  const error = new CastellanError('command_timed_out', reason, { step: 'time-limit' });
  return { exitCode: error.exitCode, reason, error };
}

function how({ exitCode, signal }: ExitStatus): string {
  return signal === undefined ? `with ${exitCode}` : `by ${signal}`;
}
