import { isIP } from 'node:net';
import { CastellanError } from '../errors.ts';

export interface ListenAddress {
  /** An IP address, without brackets. */
  readonly host: string;
  readonly port: number;
}

/**
 * @param otherwise what the option takes besides, for the message
 * @throws CastellanError `usage` where the text is no address and port
 */
export function readListenAddress(option: string, text: string, otherwise = ''): ListenAddress {
  const parts = /^(?:\[(?<six>[0-9A-Fa-f:.]+)\]|(?<four>[0-9.]+)):(?<port>\d{1,5})$/.exec(text)?.groups;
  const host = parts?.['six'] ?? parts?.['four'] ?? '';
  const port = Number(parts?.['port']);
  if (isIP(host) === 0 || !(port >= 1 && port <= 65_535))
    throw new CastellanError(
      'usage',
      `--${option} ${text}: an IP address and a port, as 127.0.0.1:8080 or [::]:8080${otherwise}`,
      { step: 'arguments' },
    );
  return { host, port };
}
