import { stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';

/** What an account without a home has. Engines write it too, for a uid that an image does not know. */
export const NO_HOME = '/';

/**
 * HOME of whoever runs in the sandbox, whatever the topology: the account's home, else the working directory, else `/`; each only where
 * it is a directory, as seen once the policy's paths are there. Programs write into HOME without asking, so that a wrong one is an error
 * in each of them.
 * @param account `/` where no account has the uid
 */
export async function homeOf(account: string, workingDirectory: string): Promise<string> {
  for (const path of [account, workingDirectory])
    if (path !== NO_HOME && isAbsolute(path) && (await isDirectory(path))) return path;
  return NO_HOME;
}

/** False too for what an image wrote and is no path at all. */
async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
