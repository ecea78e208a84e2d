/** An origin behind inspection: TLS of the test's own, and curl as the agent. */
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer as createHttps } from 'node:https';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
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
  readonly handler: (request: IncomingMessage, response: ServerResponse) => void;
}

/** Notes each request and its body, and says so. */
export function origin(): Heard {
  const requests: string[] = [];
  return {
    requests,
    handler(request, response) {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const line = `${request.method} ${request.headers.host ?? request.headers[':authority']} ${request.url} ${Buffer.concat(chunks)}`;
        requests.push(line);
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
    endpoints: [{host: api.test, port: ${port}, ${keys}}]
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
  /** curl that trusts the sandbox's authority, and nothing else. */
  readonly fetch: (...args: string[]) => ReturnType<typeof run>;
}

export interface InspectedOptions {
  readonly limits?: Partial<EgressLimits>;
  /** What the two sides speak. */
  readonly client?: Version;
  readonly server?: Version;
  readonly handler?: RequestListener;
}

export async function inspected(
  keys: string,
  { limits = {}, client = '2', server: spoken = '1.1', handler }: InspectedOptions = {},
): Promise<Inspected> {
  const stack = new AsyncDisposableStack();
  const certificate = stack.use(makeCertificate('api.test', 'other.test'));
  const heard = origin();
  const server = stack.use(await listen(tlsServer(spoken, certificate, handler ?? heard.handler)));
  const world = stack.use(await startWorld(rules(server.port, keys), { roots: [certificate.cert], limits }));
  const authority = join(dirname(certificate.path), 'authority.pem');
  writeFileSync(authority, world.egress.authority ?? '');
  return {
    world,
    heard,
    certificate,
    port: server.port,
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
