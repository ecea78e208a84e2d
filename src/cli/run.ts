import { existsSync } from 'node:fs';
import { INSTALLED_POLICY, readRunConfig } from '../config/config.ts';
import { installPaths } from '../config/install.ts';
import { start } from '../start/start.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan run`: the main job. */
export const verb: Verb = async (command, { surroundings, onSignal, stdin, stdout, stderr }) => {
  const config = readRunConfig(command, surroundings, existsSync(INSTALLED_POLICY), new Date());
  const install = installPaths(surroundings);
  if (command.options.has('explain')) {
    const { explain } = await import('../start/explain.ts');
    printJson(stdout, await explain({ config, surroundings, install }));
    return 0;
  }
  return start({ config, surroundings, install, onSignal, stdin, stdout, stderr });
};
