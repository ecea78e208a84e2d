import { runBase } from '../config/config.ts';
import { escapeText } from '../lib/escape.ts';
import { knownRuns } from '../start/run-directory.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan list`: the running sandboxes of this user. */
export const verb: Verb = async (command, { surroundings, stdout }) => {
  const runs = (await knownRuns(runBase(surroundings)))
    .filter(({ alive }) => alive)
    .map(({ state }) => state);
  if (command.options.has('json')) {
    printJson(stdout, runs);
    return 0;
  }
  for (const { name, pid, user, startedAt, command: argv } of runs)
    stdout.write(`${name}\t${pid}\t${user}\t${startedAt}\t${escapeText(argv.join(' '), 80)}\n`);
  return 0;
};
