import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoOf } from '../errors.ts';

/** Where distributions keep their certificate authorities in one file, as curl, Go and Node look for them. */
export const SYSTEM_BUNDLES: readonly string[] = [
  '/etc/ssl/certs/ca-certificates.crt', // Debian, Ubuntu, Alpine, Arch
  '/etc/pki/tls/certs/ca-bundle.crt', // Fedora, RHEL
  '/etc/ssl/ca-bundle.pem', // openSUSE
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem', // CentOS
  '/etc/ssl/cert.pem', // Alpine, OpenSSL's own
];

/** Debian's has 220 KiB. */
const MAX_BUNDLE_BYTES = 8 * 1024 * 1024;

/** The text of the first bundle there is; empty where the system has none. */
export async function readSystemBundle(paths: readonly string[] = SYSTEM_BUNDLES): Promise<string> {
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
    if (['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
