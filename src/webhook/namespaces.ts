/**
 * What a namespace says of itself: a review has only its name. Asked of the API server with the service account of the pod, over TLS that
 * the cluster's own authority vouches for.
 */
import { request } from 'node:https';
import { isIP } from 'node:net';
import type { Surroundings } from '../config/surroundings.ts';
import { readVariable } from '../config/variables.ts';
import { errnoOf } from '../errors.ts';
import { at, parsedJson } from '../lib/json.ts';
import { putLast } from '../lib/put-last.ts';
import { readMountedFile } from './read-file.ts';

export interface ApiServer {
  readonly host: string;
  readonly port: number;
  /** Files of the service account, both of which the kubelet exchanges while we run. */
  readonly authority: string;
  readonly token: string;
}

/** Where a kubelet mounts what a pod's service account is known by. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The API server of the cluster that we run in; undefined where we run in none. */
export function clusterApiServer(environment: Surroundings['environment']): ApiServer | undefined {
  const host = readVariable(environment, 'KUBERNETES_SERVICE_HOST');
  const port = readVariable(environment, 'KUBERNETES_SERVICE_PORT') ?? '443';
  if (host === undefined || !/^\d{1,5}$/.test(port)) return undefined;
  return {
    host,
    port: Number(port),
    authority: `${SERVICE_ACCOUNT}/ca.crt`,
    token: `${SERVICE_ACCOUNT}/token`,
  };
}

export type Annotations = Readonly<Record<string, string>>;

export interface NamespaceReader {
  /**
   * The namespace's annotations, at most NAMESPACE_LIFE_MS old.
   * @throws NamespaceUnavailable
   */
  annotationsOf(namespace: string): Promise<Annotations>;
}

/** Why nothing is known of a namespace: never a reason to assume something. */
export class NamespaceUnavailable extends Error {
  override readonly name = 'NamespaceUnavailable';
}

/** As long as OpenShift itself waits for the annotations of a new namespace: whoever tries again after that gets them. */
const NAMESPACE_LIFE_MS = 10_000;
/** A deployment's pods come by the hundred, for few namespaces. */
const MAX_NAMESPACES = 256;
/** Half of the ten seconds that the API server waits for us by default. */
const ANSWER_MS = 5000;
/** An object of the size that etcd takes, with its keys. */
const MAX_ANSWER_BYTES = 2 * 1024 * 1024;
const MAX_TOKEN_BYTES = 64 * 1024;
const MAX_AUTHORITY_BYTES = 512 * 1024;

export function openNamespaces(server: ApiServer, now: () => number): NamespaceReader {
  const known = new Map<string, { readonly annotations: Promise<Annotations>; readonly until: number }>();
  return {
    annotationsOf(namespace) {
      const cached = known.get(namespace);
      if (cached !== undefined && now() < cached.until) return cached.annotations;
      const annotations = ask(server, namespace);
      const entry = { annotations, until: now() + NAMESPACE_LIFE_MS };
      putLast(known, namespace, entry, MAX_NAMESPACES);
      // A failure is for those who ask with us, and nobody after.
      annotations.catch(() => {
        if (known.get(namespace) === entry) known.delete(namespace);
      });
      return annotations;
    },
  };
}

async function ask(server: ApiServer, namespace: string): Promise<Annotations> {
  const { status, body } = await answerOf(server, namespace);
  if (status !== 200) throw new NamespaceUnavailable(statusText(status, namespace));
  const document = parsedJson(body);
  if (at(document, 'kind') !== 'Namespace' || at(document, 'metadata', 'name') !== namespace)
    throw new NamespaceUnavailable(`the API server answered something else than the namespace ${namespace}`);
  const annotations = at(document, 'metadata', 'annotations') ?? {};
  const texts = Object.entries(annotations).filter(([, value]) => typeof value === 'string');
  return Object.fromEntries(texts);
}

function statusText(status: number, namespace: string): string {
  switch (status) {
    case 401:
      return 'the API server does not know the service account’s token (401)';
    case 403:
      return 'the service account may not get namespaces (403)';
    case 404:
      return `there is no namespace ${namespace} (404)`;
    default:
      return `the API server answered ${status} for the namespace ${namespace}`;
  }
}

/** The token and the authority are read anew for each question, as they are exchanged; redirects are not followed. */
async function answerOf(
  { host, port, authority, token }: ApiServer,
  namespace: string,
): Promise<{ readonly status: number; readonly body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const failed = (why: string) => reject(new NamespaceUnavailable(`the API server cannot be asked: ${why}`));
  const [ca, bearer] = await Promise.all([
    readMountedFile(authority, 'the cluster’s authority', MAX_AUTHORITY_BYTES),
    readMountedFile(token, 'the service account’s token', MAX_TOKEN_BYTES),
  ]).catch((error: Error) => {
    throw new NamespaceUnavailable(error.message);
  });
  // RFC 6750 §2.1: what may stand in the header.
  if (!/^[A-Za-z0-9._~+/-]+=*$/.test(bearer.trim()))
    throw new NamespaceUnavailable(`the service account’s token ${token} is no token`);
  const asked = request({
    host,
    port,
    path: `/api/v1/namespaces/${encodeURIComponent(namespace)}`,
    headers: { Accept: 'application/json', Authorization: `Bearer ${bearer.trim()}` },
    ca,
    minVersion: 'TLSv1.2',
    ...(isIP(host) === 0 && { servername: host }),
    agent: false,
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  asked.on('response', (response) => {
    let body = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      body += chunk;
      if (body.length > MAX_ANSWER_BYTES) asked.destroy(new Error('its answer is too large'));
    });
    response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    response.on('error', (error) => failed(reasonOf(error)));
  });
  asked.on('error', (error) => failed(reasonOf(error)));
  asked.end();
  return promise;
}

function reasonOf(error: Error): string {
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return `no answer within ${ANSWER_MS} ms`;
  return errnoOf(error) ?? error.message;
}
