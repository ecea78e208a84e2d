/** As much of a Kubernetes API server as a webhook asks of it: namespaces, for whoever brings the token. */
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Pair } from './authority.ts';

export interface FakeApiServer extends AsyncDisposable {
  readonly port: number;
  token: string;
  /** Annotations by the name of the namespace. */
  readonly namespaces: Map<string, Readonly<Record<string, unknown>> | undefined>;
  /** Answered in the place of what would be right. */
  instead:
    | 'silence'
    | 'reset'
    | 'huge'
    | 'garbage'
    | 'forbidden'
    | 'failure'
    | 'redirect'
    | 'another'
    | undefined;
  /** Paths that were asked for. */
  readonly asked: string[];
}

export async function startApiServer({ cert, key }: Pair): Promise<FakeApiServer> {
  const server = createServer({ cert, key }, (request, response) => {
    const path = request.url ?? '';
    fake.asked.push(path);
    const answer = (status: number, body: unknown) =>
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    const failed = (code: number) =>
      answer(code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code });
    const name = /^\/api\/v1\/namespaces\/([^/?]+)$/.exec(path)?.[1] ?? '';
    if (request.headers.authorization !== `Bearer ${fake.token}`) return failed(401);
    switch (fake.instead) {
      case 'silence':
        return;
      case 'reset':
        return response.destroy();
      case 'huge':
        return response.writeHead(200).end(Buffer.alloc(3 * 1024 * 1024, 0x20));
      case 'garbage':
        return response.writeHead(200).end('{"kind":');
      case 'forbidden':
        return failed(403);
      case 'failure':
        return failed(500);
      case 'redirect':
        return response.writeHead(302, { Location: `https://127.0.0.1:${fake.port}${path}` }).end();
      case 'another':
        return answer(200, namespace('another', fake.namespaces.get(name)));
    }
    return fake.namespaces.has(name) ? answer(200, namespace(name, fake.namespaces.get(name))) : failed(404);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const fake: FakeApiServer = {
    port: (server.address() as AddressInfo).port,
    token: 'token-1',
    namespaces: new Map(),
    instead: undefined,
    asked: [],
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
  return fake;
}

function namespace(name: string, annotations: Readonly<Record<string, unknown>> | undefined): object {
  return {
    kind: 'Namespace',
    apiVersion: 'v1',
    metadata: { name, uid: '8a1', resourceVersion: '7', ...(annotations && { annotations }) },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  };
}
