import { existsSync } from 'node:fs';
import { INSTALLED_POLICY, readRunConfig } from '../config/config.ts';
import { installPaths } from '../config/install.ts';
import { start } from '../start/start.ts';
import type { Verb } from './verb.ts';

/** `castellan run`: the main job. */
export const verb: Verb = (command, { surroundings, onSignal, stdin, stdout, stderr }) => {
  const config = readRunConfig(command, surroundings, existsSync(INSTALLED_POLICY), new Date());
  return start({
    config,
    surroundings,
    install: installPaths(surroundings),
    onSignal,
    stdin,
    stdout,
    stderr,
  });
};
