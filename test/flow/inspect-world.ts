/** An origin behind inspection: TLS of the test's own, and curl as the agent. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer as createHttps } from 'node:https';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { EgressOptions } from '../../src/egress/egress.ts';
import type { EgressLimits } from '../../src/egress/limits.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import {
  type Certificate,
  curl,
  type EgressWorld,
  listen,
  makeCertificate,
  type run,
  startWorld,
} from './egress-world.ts';

export type Version = '1.1' | '2';

export interface Heard {
  readonly requests: string[];
  readonly headers: IncomingMessage['headers'][];
  readonly handler: (request: IncomingMessage, response: ServerResponse) => void;
}

/** Notes each request and its body, and says so. */
export function origin(): Heard {
  const requests: string[] = [];
  const headers: IncomingMessage['headers'][] = [];
  return {
    requests,
    headers,
    handler(request, response) {
      const chunks: Buffer[] = [];
      let isAborted = false;
      request.on('aborted', () => {
        isAborted = true;
      });
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        // node:http2 ends what was reset, too.
        if (isAborted) return;
        const line = `${request.method} ${request.headers.host ?? request.headers[':authority']} ${request.url} ${Buffer.concat(chunks)}`;
        requests.push(line);
        headers.push(request.headers);
        response.end(`${line}\n`);
      });
    },
  };
}

export const rules = (port: number, keys: string) =>
  parsePolicy(
    `version: 1
network_policies:
  api:
    endpoints: [{host: api.test, port: ${port}, ${keys.replaceAll('PORT', String(port))}}]
    binaries: [{path: /usr/bin/curl}]
`,
    'p',
  ).network;

export interface Inspected extends AsyncDisposable {
  readonly world: EgressWorld;
  readonly heard: Heard;
  readonly certificate: Certificate;
  readonly base: string;
  readonly port: number;
  /** That the origin has had. */
  readonly connections: () => number;
  /** curl that trusts the sandbox's authority, and nothing else. */
  readonly fetch: (...args: string[]) => ReturnType<typeof run>;
}

type Running = AsyncDisposable & { readonly port: number };

export interface InspectedOptions
  extends Partial<
    Pick<
      EgressOptions,
      'check' | 'identify' | 'resolve' | 'mayInspect' | 'roots' | 'upstreamProxy' | 'credentials'
    >
  > {
  readonly limits?: Partial<EgressLimits>;
  /** Of the origin. */
  readonly port?: number;
  /** What the two sides speak. */
  readonly client?: Version;
  readonly server?: Version;
  readonly handler?: RequestListener;
  /** Another origin than one that notes what it hears. */
  readonly raw?: (certificate: Certificate) => Server;
  readonly origin?: (certificate: Certificate) => Promise<Running>;
}

export async function inspected(keys: string, options: InspectedOptions = {}): Promise<Inspected> {
  const {
    limits = {},
    client = '2',
    server: version = '1.1',
    raw,
    handler,
    origin: start,
    roots: trusted = [],
    port,
    ...rest
  } = options;
  const stack = new AsyncDisposableStack();
  const certificate = stack.use(makeCertificate('api.test', 'other.test'));
  const heard = origin();
  let connections = 0;
  const listening = (): Promise<Running> => {
    const server = raw?.(certificate) ?? tlsServer(version, certificate, handler ?? heard.handler);
    return listen(
      server.on('secureConnection', () => ++connections),
      port,
    );
  };
  const server = stack.use(await (start?.(certificate) ?? listening()));
  const roots = [certificate.cert, ...trusted];
  const world = stack.use(await startWorld(rules(server.port, keys), { roots, limits, ...rest }));
  const authority = join(dirname(certificate.path), 'authority.pem');
  writeFileSync(authority, world.egress.authority ?? '');
  return {
    world,
    heard,
    certificate,
    port: server.port,
    connections: () => connections,
    base: `https://api.test:${server.port}`,
    fetch: (...args) => curl(world, `--http${client}`, '--cacert', authority, ...args),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** An origin that speaks one version of HTTP, or both. */
function tlsServer(version: Version, { key, cert }: Certificate, handler: RequestListener): Server {
  if (version === '1.1') return createHttps({ key, cert }, handler);
  return createSecureServer({ key, cert }, handler as never);
}

/** TLS through the proxy, as any client opens it. */
export async function tunnel(
  world: EgressWorld,
  port: number,
  protocol: 'h2' | 'http/1.1',
): Promise<TLSSocket> {
  const socket = connect(world.proxyPort, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(`CONNECT api.test:${port} HTTP/1.1\r\nHost: x\r\n\r\n`);
  await once(socket, 'readable');
  socket.read();
  const ca = world.egress.authority ?? '';
  const secure = connectTls({ socket, servername: 'api.test', ca, ALPNProtocols: [protocol] });
  secure.on('error', () => {});
  await once(secure, 'secureConnect');
  return secure;
}
