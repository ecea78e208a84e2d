import { constants } from 'node:fs';

import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { errnoOf } from '../errors.ts';
import { isBundle } from '../lib/layout.ts';

/** Where distributions keep their certificate authorities in one file, as curl, Go and Node look for them. */
export const SYSTEM_BUNDLES: readonly string[] = [
  '/etc/ssl/certs/ca-certificates.crt', // Debian, Ubuntu, Alpine, Arch
  '/etc/pki/tls/certs/ca-bundle.crt', // Fedora, RHEL
  '/etc/ssl/ca-bundle.pem', // openSUSE
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem', // CentOS
  '/etc/ssl/cert.pem', // Alpine, OpenSSL's own
];

/** For images that have none. */
const OWN_BUNDLE = isBundle ? [fileURLToPath(new URL('../share/ca-certificates.crt', import.meta.url))] : [];

/** Where distributions keep Java's store; the Java of a distribution links to it. */
const JAVA_STORES: readonly string[] = [
  '/etc/ssl/certs/java/cacerts', // Debian, Ubuntu, Alpine, Arch
  '/etc/pki/ca-trust/extracted/java/cacerts', // Fedora, RHEL
  '/var/lib/ca-certificates/java-cacerts', // openSUSE
];
/** Below these, each directory may be a Java with a store of its own. */
const JAVA_HOMES: readonly string[] = ['/usr/lib/jvm', '/opt/java', '/opt', '/usr/java', '/usr/local'];
/** As of Java 9, and before. */
const STORE_OF_HOME: readonly string[] = ['lib/security/cacerts', 'jre/lib/security/cacerts'];

/** Where browsers of Chromium's kind look for what an administrator has set: they know no other way to an authority of ours. */
export const BROWSER_SETTINGS: readonly string[] = [
  '/etc/chromium', // Debian, Fedora, and builds without a brand
  '/etc/opt/chrome',
  '/etc/opt/chrome_for_testing',
  '/etc/opt/edge',
];

/** Debian's has 220 KiB. */
const MAX_BUNDLE_BYTES = 8 * 1024 * 1024;

/** Paths at which a Java of this system may look; most of them are not there. */
export async function possibleJavaStores(homes: readonly string[] = JAVA_HOMES): Promise<string[]> {
  const found = await Promise.all(homes.map(async (home) => ({ home, names: await namesIn(home) })));
  const own = found.flatMap(({ home, names }) =>
    names.flatMap((name) => STORE_OF_HOME.map((store) => join(home, name, store))),
  );
  return [...JAVA_STORES, ...own];
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** The text of the first bundle there is, else of castellan's own; empty where there is none. */
export async function readSystemBundle(
  paths: readonly string[] = [...SYSTEM_BUNDLES, ...OWN_BUNDLE],
): Promise<string> {
  for (const path of paths) {
    const text = await readBundle(path);
    if (text !== undefined) return text;
  }
  return '';
}

async function readBundle(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = await file.stat();
    if (size === 0 || size > MAX_BUNDLE_BYTES) return undefined;
    return await file.readFile('latin1');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Or might as well be. */
function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '');
}
