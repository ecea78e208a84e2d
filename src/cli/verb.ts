import type { VerbArguments } from '../config/config.ts';
import type { SignalName, Surroundings } from '../config/surroundings.ts';

export interface VerbContext {
  readonly surroundings: Surroundings;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  /** Calls the listener for each signal castellan receives, until disposed. */
  onSignal(listener: (name: SignalName) => void): Disposable;
}

/** Does the verb's work and gives the exit code. */
export type Verb = (command: VerbArguments, context: VerbContext) => Promise<number>;

/** Prints one document for programs. */
export function printJson(stdout: NodeJS.WriteStream, value: unknown): void {
  stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
