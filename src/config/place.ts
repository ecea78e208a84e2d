import { isIP } from 'node:net';
import { CastellanError } from '../errors.ts';
import type { VerbArguments } from './config.ts';

/** Where castellan answers over HTTP, besides the socket in its run directory. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string };

/** sun_path takes 108 bytes, the last of which ends the name (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

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
  const parts = /^(?:\[(?<six>[0-9A-Fa-f:.]+)\]|(?<four>[0-9.]+)):(?<port>\d{1,5})$/.exec(text)?.groups;
  const host = parts?.['six'] ?? parts?.['four'] ?? '';
  const port = Number(parts?.['port']);
  if (isIP(host) === 0 || !(port >= 1 && port <= 65_535))
    throw usage(
      `--${option} ${text}: an IP address and a port, as 127.0.0.1:8080 or [::]:8080, or unix: and a path`,
    );
  return { host, port };
}

function usage(message: string): CastellanError {
  return new CastellanError('usage', message, { step: 'arguments' });
}
