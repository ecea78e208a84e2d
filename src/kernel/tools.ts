/** The two programs that castellan runs besides its own. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { CastellanError } from '../errors.ts';

/** Never PATH: an image or a caller must not choose what runs with our rights. */
const TOOL_DIRECTORIES = ['/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/**
 * Absolute path of `ip` or `nft`.
 * @throws CastellanError `install_incomplete`
 */
export async function findTool(name: 'ip' | 'nft'): Promise<string> {
  for (const directory of TOOL_DIRECTORIES) {
    const path = join(directory, name);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // The next directory may have it; that none has is the failure.
    }
  }
  throw new CastellanError('install_incomplete', `${name} is in none of ${TOOL_DIRECTORIES.join(', ')}`, {
    step: 'namespace/tools',
    object: name,
  });
}
