import type { VerbArguments } from './config.ts';
import { type ListenAddress, readListenAddress } from './listen-address.ts';
import { MAX_SOCKET_PATH_BYTES, usage } from './values.ts';

/** Where castellan answers over HTTP, besides the socket in its run directory. */
export type Place = ListenAddress | { readonly path: string };

/**
 * The value of --health-listen or --metrics-listen: ADDRESS:PORT, or unix:PATH; undefined where it was not given.
 * @throws CastellanError `usage`
 */
export function readPlace(
  option: 'health-listen' | 'metrics-listen',
  { options }: VerbArguments,
  absolute: (path: string) => string,
): Place | undefined {
  const text = options.get(option)?.[0];
  if (text === undefined) return undefined;
  if (options.get('roles')?.[0] === 'process')
    throw usage(
      `--${option} takes a view and a network of castellan’s own, which the command does not share`,
    );
  if (text.startsWith('unix:')) {
    const path = absolute(text.slice('unix:'.length));
    if (text === 'unix:' || Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES)
      throw usage(`--${option} ${text}: a path of at most ${MAX_SOCKET_PATH_BYTES} bytes`);
    return { path };
  }
  return readListenAddress(option, text, ', or unix: and a path');
}
