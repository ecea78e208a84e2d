import type { Glob } from '../policy/match/glob.ts';
import type { HostPattern } from '../policy/match/host.ts';

/** A secret, and where it may go. */
export interface Credential {
  /** Of the variable in which processes have the placeholder. */
  readonly name: string;
  readonly value: string;
  /** What processes have. */
  readonly placeholder: string;
  /** It may go to endpoints of the policy that are bound to this provider... */
  readonly provider: string | undefined;
  /** ...and to these. */
  readonly endpoints: readonly BoundEndpoint[];
  readonly places: ReadonlySet<Place>;
  /** Milliseconds since 1970; undefined lasts. */
  readonly expiresAt: number | undefined;
  /** Of a gateway: 64 hexadecimal digits. */
  readonly handle: string | undefined;
}

export interface BoundEndpoint {
  readonly host: HostPattern;
  readonly port: number;
  /** Undefined is about all paths. */
  readonly path: Glob | undefined;
  /** As written, for people. */
  readonly text: string;
}

/** Parts of a request in which a placeholder may stand. */
export const PLACES = ['header', 'query', 'path', 'body', 'websocket'] as const;
/** `header:x-api-key` is that header alone. */
export type Place = (typeof PLACES)[number] | `header:${string}`;

/**
 * Headers that no server takes a secret from and many send back: for tracing, for CORS, in a handshake. A credential goes into one
 * only where its places name it.
 */
const REFLECTED: ReadonlySet<string> = new Set([
  'access-control-request-headers',
  'access-control-request-method',
  'origin',
  'referer',
  'request-id',
  'sec-websocket-protocol',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-amzn-trace-id',
  'x-b3-traceid',
  'x-correlation-id',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-request-id',
]);

/** The same by the beginning of the name: what a store keeps beside a file and gives back with it, what errors repeat, trace ids. */
const REFLECTED_KINDS =
  /^(?:accept(?:-.*)?|b3|baggage|cache-control|content-.*|expires|if-.*|range|(?:x-)?idempotency-key|x-(?:amz|goog|ms|object)-meta-.*|x-amz-tagging|x-(?:b3|datadog|forwarded)-.*|x-(?:ms-)?client-request-id|x-cloud-trace-context)$/;

/** Whether it may stand there. */
export function fits({ places }: Pick<Credential, 'places'>, place: Place): boolean {
  if (places.has(place)) return true;
  const [kind, name = ''] = place.split(':', 2) as [Place, string?];
  return kind !== place && places.has(kind) && !REFLECTED.has(name) && !REFLECTED_KINDS.test(name);
}

/** What TLS to an origin is opened with where it asks who is there. */
export interface ClientCertificate {
  /** PEM. */
  readonly certificate: string;
  readonly key: string;
}

/** Everything that is known at a time. */
export interface CredentialSet {
  readonly credentials: readonly Credential[];
  readonly clientCertificates: ReadonlyMap<string, ClientCertificate>;
}
