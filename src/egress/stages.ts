/**
 * What one stage of a connection hands to the next. `ApprovedAddress` carries a brand that only the
 * destination check can make, so that dialling something unchecked does not compile.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import type { Transform } from 'node:stream';
import type { ANY_PROGRAM } from '../policy/any-program.ts';
import type { RequestNames } from '../policy/request-names.ts';
import type { AllowVerdict, DenyReason, DenyVerdict } from '../policy/verdict.ts';
import type { ClientExchange } from './exchange.ts';
import type { Conversation } from './inspect/conversation.ts';
import type { Origins } from './relay/origins.ts';

/** How the destination was learned. */
export type AdapterName = 'connect' | 'forward' | 'transparent-tls' | 'transparent-http' | 'transparent-dns';

/**
 * The workload's TCP connection as its own socket sees it, because sock_diag(7) is asked about that socket. Local is the
 * workload's end; remote is the far end it dialled: the original destination of a redirected connection, the
 * proxy's own address (127.0.0.1:3128) of an explicit one. IPv4-mapped addresses are written as IPv4.
 */
export interface Flow {
  readonly family: 4 | 6;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

export interface Intent {
  /** One id from accept to close, in every event of the connection. */
  readonly connectionId: string;
  readonly adapter: AdapterName;
  /** Lower-case name without trailing dot, or canonical IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  readonly flow: Flow;
  readonly startedAt: number;
  /** HTTP facts where a request was parsed; the path has no query. */
  readonly http?: RequestLine;
}

export interface RequestLine {
  readonly method: string;
  readonly path: string;
  /** `https` for a request inside TLS that was opened here. */
  readonly scheme: 'http' | 'https';
  /** Set once it has been inspected. */
  readonly inspected?: RequestNames;
}

/** The process behind a connection, as the process role established it. */
export interface Identity {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/pid/stat: with the pid it names one process for ever. */
  readonly startTime: string;
  readonly uid: number;
  readonly executable: string;
  readonly sha256: string;
  /** Nearest parent first, ending below the supervisor. */
  readonly ancestors: readonly string[];
  /** SHA-256 of each ancestor; empty for one that cannot be trusted, and so gives no rights. */
  readonly ancestorHashes: readonly string[];
  /** Descendants that hold the connection too: what one of them may not, may not be done over it. They have no heirs. */
  readonly heirs?: readonly Identity[];
}

/** Who asks: a program, or any where programs are not told apart. */
export type Caller = Identity | typeof ANY_PROGRAM;

/** What a look at processes finds. */
export type LookResult =
  | { readonly ok: true; readonly identity: Identity }
  | { readonly ok: false; readonly reason: string };

export type IdentityResult = LookResult | { readonly ok: true; readonly identity: typeof ANY_PROGRAM };

/** The right to one connection: what the policy said, and of whom. */
export interface Grant {
  readonly verdict: AllowVerdict;
  readonly identity: Caller;
}

export type Decision =
  | { readonly ok: true; readonly grant: Grant }
  | { readonly ok: false; readonly verdict: DenyVerdict; readonly identity: Caller | undefined };

declare const approved: unique symbol;

/** An address the destination check has passed for one decision; dial() takes nothing else. */
export interface ApprovedAddress {
  readonly [approved]: true;
  readonly address: string;
  readonly family: 4 | 6;
  readonly port: number;
}

/** Why a connection goes no further, as the record and the client are told. */
export type Refusal =
  | { readonly result: 'denied'; readonly verdict: DenyVerdict }
  | {
      readonly result: 'failed';
      /** HTTP status and a stable word for programs, where the client's protocol has room for them. */
      readonly status: 429 | 500 | 502 | 504;
      readonly error: string;
      readonly detail: string;
      /** What the operator's proxy answered. */
      readonly proxyStatus?: number | undefined;
    };

/** The operator's proxy that a connection goes through. */
export interface UpstreamProxyHop {
  readonly host: string;
  readonly port: number;
  /** It was told the name: which address it took is not known. */
  readonly byHostName: boolean;
}

/** TLS with an origin, as it was agreed. */
export interface TlsFacts {
  readonly version: string;
  readonly cipher: string;
  readonly serverName: string | undefined;
  readonly isResumed: boolean;
  readonly issuer: string | undefined;
  readonly serialNumber: string | undefined;
}

/** A connection that is open to an origin. */
export interface Upstream {
  readonly socket: Socket;
  readonly address: string;
  /** What requests on it have to be written in. */
  readonly protocol: 'http/1.1' | 'h2';
  readonly proxy?: UpstreamProxyHop | undefined;
  readonly tls?: TlsFacts | undefined;
}

export type Reached =
  | { readonly ok: true; readonly upstream: Upstream }
  | { readonly ok: false; readonly refusal: Refusal };

/** How the relay ended. */
export interface Outcome {
  /** `denied` where the first bytes turned out to be meant for somebody else, or to be none that can be inspected. */
  readonly result: 'closed' | 'denied' | 'failed';
  /** For `denied`. */
  readonly reason?: DenyReason;
  readonly bytesOut: number;
  readonly bytesIn: number;
  /** For `denied` and `failed`. */
  readonly detail?: string;
  readonly httpStatus?: number;
}

/** A connection, or one request of it, whose destination is known, and the way to speak with its client. */
export interface Arrival {
  readonly intent: Intent;
  /** What the adapter itself found wrong; it is recorded with the identity, and refused before any policy is asked. */
  readonly objection: Objection | undefined;
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal;
  /** Tells the client, in words of its own protocol, and closes. `body` is the answer where there is room for one. */
  refuse(status: number, body: object): void;
  /** The right to go on is lost: ends at once what is under way. `body` is the answer where one can still be given. */
  revoke(body: object): void;
  /** Set where the arrival is a parsed request, which can be judged by itself. */
  readonly request?: InspectableRequest;
  /** Moves bytes until both sides are done. Never rejects; owns `upstream`. `content` is what was judged, and goes out. */
  relay(upstream: Upstream, grant: Grant, content: RequestContent | undefined): Promise<Outcome>;
  /** Set for requests: how they are answered where castellan itself is the origin. */
  readonly exchange?: ClientExchange;
  /** Set for requests: the connections their client has open already. */
  readonly origins?: Origins;
  /**
   * Set where the arrival is a tunnel: opens it, so that each request in it arrives by itself. Never rejects; settles when the
   * client is gone.
   */
  open?(): Promise<Outcome>;
}

export interface InspectableRequest {
  readonly method: string;
  /** Path and query as sent. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** The same as sent, without pseudo fields: a flat list. */
  readonly fields: readonly string[];
  /** Asks for a WebSocket, in good form. */
  readonly isWebSocket: boolean;
  /** Reads the body to its end; undefined when it is larger, or does not come. */
  body(maxBytes: number): Promise<Buffer | undefined>;
}

/** A request as it was judged. */
export interface RequestContent {
  /** Path and query. */
  readonly target: string;
  /** Undefined where the body was not read, and is still to be streamed. */
  readonly body: Buffer | undefined;
  /** Set for a WebSocket whose messages are judged. */
  readonly conversation?: Conversation | undefined;
  /** With secrets in it: in the place of the fields that came. */
  readonly fields?: readonly string[] | undefined;
  /** Set where placeholders may be in what is still to come. */
  readonly guard?: PlaceholderGuard | undefined;
}

/** Over what a client sends once its request is under way. */
export interface PlaceholderGuard {
  /** For a body that is streamed: breaks with an error, whose message says why, before a placeholder is out. */
  stream(): Transform;
  /** Why trailer fields may not go on. */
  trailerFlaw(fields: readonly (readonly [name: string, value: string])[]): string | undefined;
  /** A message over a WebSocket, as it goes on. */
  message(data: string | Buffer): { readonly data: string | Buffer } | { readonly flaw: string };
}

export interface Objection {
  readonly reason: DenyReason;
  readonly detail: string;
}
