/** Names, ports and paths that servers, policy and clients of this suite agree on. */

/** Endpoints without a protocol: TLS passes unopened. */
export const CLOSED = 'closed.demo.test';
/** Endpoints with `protocol: rest`: TLS is opened. */
export const OPENED = 'opened.demo.test';
/** Endpoints with `protocol: tcp`. */
export const RAW = 'raw.demo.test';
/** In no policy. */
export const FORBIDDEN = 'forbidden.demo.test';
export const HOSTS = [CLOSED, OPENED, RAW, FORBIDDEN] as const;

export const PORTS = {
  http: 80,
  /** HTTP/1.1, HTTP/2 and WebSockets, by Node. */
  https: 443,
  /** Files and git, by Apache. */
  files: 8443,
  grpc: 50_051,
  ssh: 22,
  smtp: 25,
  imap: 143,
  postgres: 5432,
  redis: 6379,
} as const;

export const BIG_BYTES = 100 * 1024 * 1024;
export const NPM_PACKAGES = 60;
