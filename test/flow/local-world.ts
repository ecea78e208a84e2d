/** castellan's own names on loopback: a provider of models that does what the test says, and curl as the agent. */
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { dirname, join } from 'node:path';
import type { EgressOptions } from '../../src/egress/egress.ts';
import type { EgressLimits } from '../../src/egress/limits.ts';
import { type ModelRoute, parseModelRoutes } from '../../src/egress/local/model-routes.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import {
  type Certificate,
  curl,
  type EgressWorld,
  listen,
  makeCertificate,
  type Run,
  startWorld,
} from './egress-world.ts';

export const KEY = 'sk-very-secret-0123456789';

/** What a provider was asked. */
export interface ModelCall {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Provider extends AsyncDisposable {
  readonly port: number;
  readonly calls: ModelCall[];
}

export type Answer = (call: ModelCall, response: ServerResponse) => void;

/** Notes every call and answers as told. */
export async function provider(answer: Answer, certificate?: Certificate): Promise<Provider> {
  const calls: ModelCall[] = [];
  const listener: Parameters<typeof createServer>[1] = (request, response) => {
    const chunks: Buffer[] = [];
    request.on('error', () => {});
    response.on('error', () => {});
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      const call = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body };
      calls.push(call);
      answer(call, response);
    });
  };
  const { key, cert } = certificate ?? {};
  const server = certificate === undefined ? createServer(listener) : createHttps({ key, cert }, listener);
  return { ...(await listen(server)), calls };
}

export const json =
  (value: object, status = 200): Answer =>
  (_call, response) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));

/** Server-sent events, a write each. */
export const events =
  (...texts: string[]): Answer =>
  (_call, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const text of texts) response.write(text);
    response.end();
  };

const ENDPOINTS: Readonly<Record<string, string>> = {
  both: '[{host: inference.local, port: 443}, {host: policy.local, port: 80}]',
};

/** The rules of a policy that lets curl ask at the endpoints, and others by `more`. */
export function localRules(endpoints = 'both', more = '') {
  return parsePolicy(
    `version: 1
network_policies:
  own: {endpoints: ${ENDPOINTS[endpoints] ?? endpoints}, binaries: [{path: /usr/bin/curl}]}
${more}`,
    'p',
  ).network;
}

export interface LocalWorld extends AsyncDisposable {
  readonly world: EgressWorld;
  /** curl that trusts the sandbox's authority. */
  readonly fetch: (...args: string[]) => Promise<Run>;
  /** The body of an answer of policy.local. */
  readonly ask: (path: string, ...args: string[]) => Promise<Record<string, unknown>>;
}

export interface LocalWorldOptions extends Partial<Omit<EgressOptions, 'limits'>> {
  readonly limits?: Partial<EgressLimits>;
  readonly routes?: string;
  readonly endpoints?: string;
  readonly more?: string;
}

export async function localWorld({
  routes,
  endpoints,
  more,
  ...options
}: LocalWorldOptions = {}): Promise<LocalWorld> {
  const stack = new AsyncDisposableStack();
  const certificate = stack.use(makeCertificate('unused.test'));
  const modelRoutes: readonly ModelRoute[] = routes === undefined ? [] : parseModelRoutes(routes, 'routes');
  const world = stack.use(await startWorld(localRules(endpoints, more), { modelRoutes, ...options }));
  const authority = join(dirname(certificate.path), 'authority.pem');
  writeFileSync(authority, world.egress.authority ?? '');
  const fetch = (...args: string[]): Promise<Run> => curl(world, '--cacert', authority, ...args);
  return {
    world,
    fetch,
    async ask(path, ...args) {
      const { stdout } = await fetch(...args, `http://policy.local${path}`);
      return JSON.parse(stdout.toString()) as Record<string, unknown>;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** A route to the provider, and the keys given. */
export function route({ port }: Pick<Provider, 'port'>, keys = ''): string {
  return `routes:\n  - {name: main, endpoint: "http://127.0.0.1:${port}/v1", model: real-model, api_key: "${KEY}", protocols: [openai_chat_completions, openai_responses, openai_embeddings, anthropic_messages, aws_bedrock_invoke]${keys}}\n`;
}

export const CHAT = 'https://inference.local/v1/chat/completions';
