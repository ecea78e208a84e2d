import { resolve } from 'node:path';
import { installPaths } from '../config/install.ts';
import { copySelf, copySelfAs, programPath } from '../start/copy-self.ts';
import type { Verb } from './verb.ts';

/** `castellan copy-self [--openshell] DIRECTORY`: puts this bundle where other containers mount it. */
export const verb: Verb = async ({ operands: [place = ''], options }, { surroundings, stdout }) => {
  const { workingDirectory, uid } = surroundings;
  const { root } = installPaths(surroundings);
  const wanted = resolve(workingDirectory, place);
  const { path, version, copied } = options.has('openshell')
    ? await copySelfAs(root, await programPath(wanted, place.endsWith('/')), uid)
    : await copySelf(root, wanted, uid);
  stdout.write(`castellan ${version}: ${path} ${copied ? 'copied' : 'was there already'}\n`);
  return 0;
};
