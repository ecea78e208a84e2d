import { attachSubsystem } from '../session/attach.ts';
import { runSsh } from './ssh.ts';
import type { Verb } from './verb.ts';

/** `castellan attach`: the main process of a retained run, on this terminal. */
export const verb: Verb = (command, context) =>
  runSsh(command, context, {
    // Raw keys reach the process, and ssh puts the terminal back.
    tty: context.surroundings.stdinIsTerminal,
    command: attachSubsystem(command.options.has('read-only')),
    subsystem: true,
  });
