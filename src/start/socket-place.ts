/** Where castellan answers at a path of the operator's choice. */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CastellanError, errnoOf } from '../errors.ts';
import { directoryFlaw } from '../kernel/directory-flaw.ts';

/**
 * Gives where a socket at `path` really is, for its path is walked again when it is removed. Nobody but root and the caller may be able to put
 * something else there. What the policy grants is not looked at here: the path is one of castellan's own places.
 * @param uid of the caller
 * @param step names the socket, in errors
 * @throws CastellanError `filesystem_refused`
 */
export async function openSocketPlace(path: string, uid: number, step: string): Promise<string> {
  const wanted = dirname(path);
  const refused = (object: string, problem: string, errno?: string): CastellanError =>
    new CastellanError('filesystem_refused', `${object} ${problem}: no place for the ${step} socket`, {
      step,
      object,
      remedy: 'choose a directory that nobody but its owner, who is root or the caller, can write',
      ...(errno && { errno }),
    });
  let directory: string;
  try {
    directory = await realpath(wanted);
  } catch (error) {
    throw refused(wanted, 'cannot be opened', errnoOf(error));
  }
  const flaw = directoryFlaw(directory, (owner) => owner === 0 || owner === uid);
  if (flaw !== undefined) throw refused(flaw.path, flaw.problem);
  return join(directory, basename(path));
}
