/** The two programs that castellan runs besides its own. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { CastellanError } from '../errors.ts';

/**
 * Absolute path of `ip` or `nft`, in one of the directories and never by PATH: an image or a caller must not choose what runs
 * with our rights.
 * @throws CastellanError `install_incomplete`
 */
export async function findTool(name: 'ip' | 'nft', directories: readonly string[]): Promise<string> {
  for (const directory of directories) {
    const path = join(directory, name);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // The next directory may have it; that none has is the failure.
    }
  }
  throw new CastellanError('install_incomplete', `${name} is in none of ${directories.join(', ')}`, {
    step: 'namespace/tools',
    object: name,
  });
}
