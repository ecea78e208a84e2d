/** One HTTP request and its answer as the relay sees them, whatever version each side speaks. Fields are flat name-value lists. */
import type { Readable, Writable } from 'node:stream';

/** By name in lower case, as both of Node's parsers give them; only set-cookie, which no request has, is a list. */
export type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** How much body there is: none, as many bytes as its length field says, or until it ends. */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: string }
  | { readonly kind: 'open' };

export interface ResponseHead {
  readonly status: number;
  /** Empty in HTTP/2. */
  readonly reason: string;
  /** As the origin sent them, without pseudo fields. */
  readonly fields: readonly string[];
  readonly framing: Framing;
}

/** A client's request, and the way to answer it. */
export interface ClientExchange {
  readonly version: '1.0' | '1.1' | '2';
  readonly method: string;
  /** As sent. */
  readonly target: string;
  readonly headers: RequestHeaders;
  /** As sent, without pseudo fields. */
  readonly fields: readonly string[];
  readonly framing: Framing;
  readonly body: Readable;
  /** Those after the body, once it has ended. */
  trailers(): readonly string[];
  /** Whether the request is here to its end. */
  isComplete(): boolean;
  /** Nobody hears an answer any more. */
  isGone(): boolean;
  /** Whether an answer has begun. */
  hasBegun(): boolean;
  /** An interim response; those that do not suit the client are left out. */
  interim(status: number, link: string | undefined): void;
  /** Begins the answer. Throws for fields that cannot be sent. */
  respond(head: ResponseHead): Writable;
  /** Ends the answer. */
  end(trailers: readonly [name: string, value: string][]): void;
  /** Answers in the place of the origin, and lets nothing follow; breaks off an answer that has begun. */
  refuse(status: number, body: object): void;
  /** As if the connection had broken, so that the client may ask again. */
  breakOff(): void;
  /** `listener` hears once when the exchange is over, and whether the answer went out to its end. */
  onClose(listener: (finished: boolean) => void): void;
}

export interface RequestHead {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  /** Host, with the port unless it is the scheme's own. */
  readonly authority: string;
  readonly path: string;
  /** Those that travel on. */
  readonly fields: readonly string[];
  readonly framing: Framing;
  /** The client takes trailer fields. */
  readonly takesTrailers: boolean;
}

export interface OriginEvents {
  interim(status: number, link: string | undefined): void;
  /** `trailers` tells once the body has ended. */
  response(head: ResponseHead, body: Readable, trailers: () => readonly string[]): void;
  /** At most once, and nothing after it. */
  failed(failure: OriginFailure): void;
}

export interface OriginFailure {
  readonly status: 502 | 504;
  readonly error: string;
  readonly detail: string;
  /** The origin has not looked at the request: it can be asked again without harm. */
  readonly isStale: boolean;
}

/** A request under way at its origin. */
export interface OriginRequest {
  readonly body: Writable;
  end(trailers: readonly [name: string, value: string][]): void;
  /** Bytes so far, as near as the version lets them be told apart from those of other requests. */
  transferred(): { readonly bytesOut: number; readonly bytesIn: number };
  /** The exchange is over. One that did not come to its end takes the connection, or the stream, with it. */
  close(): void;
}

/** An open connection to an origin that can carry requests. */
export interface Origin {
  /** Undefined where that has failed at once, which the events tell. */
  ask(head: RequestHead, events: OriginEvents): OriginRequest | undefined;
}
