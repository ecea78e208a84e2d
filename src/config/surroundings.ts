import type { Environment } from './variables.ts';

/** What the process was started with; main.ts reads it once, nobody else looks at `process`. */
export interface Surroundings {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly pid: number;
  readonly parentPid: number;
  /** Castellan's own init, which adopts orphans; undefined where something else started us. */
  readonly initPid: number | undefined;
  readonly workingDirectory: string;
  /** Read by config/variables.ts. */
  readonly environment: Environment;
  /** Directory that holds src (or the bundle), build and node_modules. */
  readonly installRoot: string;
  /** The Node binary that runs us. */
  readonly node: string;
  readonly stdinIsTerminal: boolean;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
}

/** Signals a supervisor passes on to the command; WINCH is the terminal's own business. */
export const FORWARDED_SIGNALS = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGCONT',
] as const;
export type SignalName = (typeof FORWARDED_SIGNALS)[number];
