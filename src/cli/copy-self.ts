import { resolve } from 'node:path';
import { installPaths } from '../config/install.ts';
import { copySelf } from '../start/copy-self.ts';
import type { Verb } from './verb.ts';

/** `castellan copy-self DIRECTORY`: puts this bundle where other containers mount it. */
export const verb: Verb = async ({ operands }, { surroundings, stdout }) => {
  const directory = resolve(surroundings.workingDirectory, operands[0] ?? '');
  const { path, version, copied } = await copySelf(
    installPaths(surroundings).root,
    directory,
    surroundings.uid,
  );
  stdout.write(`castellan ${version}: ${path} ${copied ? 'copied' : 'was there already'}\n`);
  return 0;
};
