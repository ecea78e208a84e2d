/**
 * What browsers of Chromium's kind are told by the administrator: they trust an authority that is set there, and look into no
 * bundle. The agent sees the image's own settings with one more file among them.
 */
import { chmod, cp, lstat, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoOf } from '../errors.ts';
import { BROWSER_SETTINGS } from '../kernel/trust-bundles.ts';

export interface BrowserSettings {
  /** The directories there are, each with the one that is to be mounted over it. */
  readonly places: readonly { readonly path: string; readonly copy: string }[];
  /** `authority` is DER. No browser may start before. */
  publish(authority: Buffer): Promise<void>;
}

/**
 * https://chromeenterprise.google/policies/#CACertificates and #EncryptedClientHelloEnabled: tunnels whose TLS hides its name are refused,
 * and browsers send what looks like it always.
 */
const POLICY_DIRECTORIES = ['policies', 'policies/managed'];
const POLICY_FILE = 'policies/managed/castellan.json';

/** Copies into `directory` the settings that are directories of the system's own, as `isThere` finds. */
export async function openBrowserSettings(
  directory: string,
  isThere: (path: string) => boolean,
  settings: readonly string[] = BROWSER_SETTINGS,
): Promise<BrowserSettings> {
  const places: { path: string; copy: string }[] = [];
  for (const path of settings.filter(isThere)) {
    const copy = join(directory, basename(path));
    if (await copySettings(path, copy)) places.push({ path, copy });
  }
  return {
    places,
    async publish(authority) {
      const policy = JSON.stringify({
        CACertificates: [authority.toString('base64')],
        EncryptedClientHelloEnabled: false,
      });
      for (const { copy } of places)
        await writeFile(join(copy, POLICY_FILE), policy, { mode: 0o444, flag: 'wx' });
    },
  };
}

/** False where the settings cannot be read: then they stay as they are. */
async function copySettings(path: string, copy: string): Promise<boolean> {
  await mkdir(copy, { recursive: true });
  const whole = await cp(path, copy, { recursive: true, verbatimSymlinks: true, filter: isOrdinary }).then(
    () => true,
    (error: unknown) => ignore('EACCES', error),
  );
  for (const each of await readdir(copy, { recursive: true, withFileTypes: true }))
    if (each.isDirectory()) await makeRemovable(join(each.parentPath, each.name));
  if (whole === undefined) return false;
  await chmod(copy, 0o755);
  for (const each of POLICY_DIRECTORIES.map((name) => join(copy, name))) {
    // Through a link it would be the image's own directory.
    const found = await lstat(each).catch((error: unknown) => ignore('ENOENT', error));
    if (found?.isSymbolicLink()) return false;
    await mkdir(each, { recursive: true });
    await chmod(each, 0o755);
  }
  await rm(join(copy, POLICY_FILE), { force: true });
  return true;
}

/** Sockets and pipes are nobody's settings, and cannot be copied. */
async function isOrdinary(path: string): Promise<boolean> {
  const facts = await lstat(path);
  return facts.isFile() || facts.isDirectory() || facts.isSymbolicLink();
}

/** It is the caller's now, who has to get rid of it again. */
async function makeRemovable(directory: string): Promise<void> {
  const { mode } = await lstat(directory);
  await chmod(directory, (mode & 0o777) | 0o700);
}

function ignore(errno: string, error: unknown): undefined {
  if (errnoOf(error) !== errno) throw error;
}
