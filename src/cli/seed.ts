import { resolve } from 'node:path';
import { seedWorkspace } from '../start/seed.ts';
import type { Verb } from './verb.ts';

/** `castellan seed SOURCE DIRECTORY`: what an image has in its workspace, for the volume that will cover it. */
export const verb: Verb = async ({ operands }, { surroundings, stdout }) => {
  const [source = '', directory = ''] = operands.map((path) => resolve(surroundings.workingDirectory, path));
  const { outcome, entries, leftOut } = seedWorkspace(source, directory);
  stdout.write(`castellan seed: ${outcome}, ${entries} entries copied, ${leftOut} left out\n`);
  return 0;
};
