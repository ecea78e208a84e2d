/** Where SSH is answered besides the run directory: for a platform that looks for the socket at a place of its own. */
import { MAX_SOCKET_PATH_BYTES, usage } from './values.ts';

export type SshAddress =
  | { readonly kind: 'path'; readonly path: string }
  /** In the abstract namespace, where no file is (unix(7)). */
  | { readonly kind: 'abstract'; readonly name: string };

/**
 * Reads `PATH` or `@NAME`.
 * @throws CastellanError `usage` for what is no address
 */
export function readSshAddress(text: string, absolute: (path: string) => string): SshAddress {
  const isAbstract = text.startsWith('@');
  const address: SshAddress = isAbstract
    ? { kind: 'abstract', name: text.slice(1) }
    : { kind: 'path', path: absolute(text) };
  const bytes = address.kind === 'path' ? address.path : address.name;
  if (text === '' || bytes === '' || bytes.includes('\0') || Buffer.byteLength(bytes) > MAX_SOCKET_PATH_BYTES)
    throw usage(`--ssh-socket ${text}: a path or @name of up to ${MAX_SOCKET_PATH_BYTES} bytes`);
  return address;
}

/** As it is written on the command line. */
export function showSshAddress(address: SshAddress): string {
  return address.kind === 'path' ? address.path : `@${address.name}`;
}
