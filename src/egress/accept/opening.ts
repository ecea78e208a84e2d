/** A client's first bytes, looked at and not consumed for good: whoever relays sends them on. */
import { METHODS } from 'node:http';
import type { Socket } from 'node:net';
import { beginsHttp2, looksLikeHttp } from '../../protocol/http-head.ts';
import { readClientHello } from '../../protocol/tls-client-hello.ts';
import type { EgressLimits } from '../limits.ts';

export type Opening =
  /** `serverName` is a host name in its one form; undefined where the client sent none. */
  | {
      readonly kind: 'tls';
      readonly serverName: string | undefined;
      /** There may be another name in it, encrypted (RFC 9849). */
      readonly mayHideName?: true;
    }
  | { readonly kind: 'http' }
  /** Without TLS, by a client that knows its origin. */
  | { readonly kind: 'http2' }
  | { readonly kind: 'other' }
  /** Nothing came in time. */
  | { readonly kind: 'silent' }
  /** TLS has begun, and cannot be read. */
  | { readonly kind: 'invalid'; readonly detail: string };

export interface ReadOpening {
  readonly opening: Opening;
  readonly bytes: Buffer;
}

type CompleteHello = Extract<ReturnType<typeof readClientHello>, { state: 'complete' }>;

/** What the bytes so far are the beginning of; undefined while more are needed to tell. */
export function classifyOpening(bytes: Buffer): Opening | undefined {
  if (bytes.length === 0) return undefined;
  const hello = readClientHello(bytes);
  switch (hello.state) {
    case 'incomplete':
      return undefined;
    case 'invalid':
      return { kind: 'invalid', detail: `not a TLS ClientHello: ${hello.reason}` };
    case 'complete':
      return tlsOpening(hello);
    case 'not-tls':
      return httpOpening(bytes);
  }
}

/** Words that are no method begin other line protocols, such as IRC's. */
function httpOpening(bytes: Buffer): Opening | undefined {
  const likely = looksLikeHttp(bytes);
  if (likely === undefined) return undefined;
  if (beginsHttp2(bytes)) return { kind: 'http2' };
  const method = bytes.subarray(0, bytes.indexOf(' ')).toString('latin1');
  return { kind: likely && METHODS.includes(method) ? 'http' : 'other' };
}

function tlsOpening({ serverName, hasEch }: Pick<CompleteHello, 'serverName' | 'hasEch'>): Opening {
  return { kind: 'tls', serverName, ...(hasEch && { mayHideName: true as const }) };
}

/**
 * Reads until the opening is known. `firstMs` is the time for the first byte (undefined: no limit of this function's own);
 * what has begun must be complete within the limit. Settles too when the client ends. Never rejects.
 */
export function readOpening(client: Socket, limits: EgressLimits, firstMs?: number): Promise<ReadOpening> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    let timer: NodeJS.Timeout | undefined;
    const finish = (opening: Opening): void => {
      clearTimeout(timer);
      client.off('readable', onReadable);
      client.off('end', onEnd);
      client.off('close', onEnd);
      resolve({ opening, bytes });
    };
    const onEnd = (): void => finish(unfinished(bytes, 'the client ended'));
    const onReadable = (): void => {
      const chunk: Buffer | null = client.read();
      if (chunk === null) return;
      if (bytes.length === 0) {
        clearTimeout(timer);
        timer = setTimeout(
          () => finish(unfinished(bytes, 'it did not come in time')),
          limits.openingCompleteMs,
        );
      }
      bytes = Buffer.concat([bytes, chunk]);
      const opening = classifyOpening(bytes);
      if (opening !== undefined) finish(opening);
      else if (bytes.length >= limits.openingBytes) finish(unfinished(bytes, 'it is too long'));
    };
    if (firstMs !== undefined) timer = setTimeout(() => finish({ kind: 'silent' }), firstMs);
    client.on('readable', onReadable);
    client.on('end', onEnd);
    client.on('close', onEnd);
    if (client.destroyed) onEnd();
    else onReadable();
  });
}

/** Half a ClientHello may hide any name, so it is refused; the beginning of anything else is sent on as it is. */
function unfinished(bytes: Buffer, why: string): Opening {
  const tls = bytes.length > 0 && readClientHello(bytes).state !== 'not-tls';
  return tls ? { kind: 'invalid', detail: `the TLS ClientHello is incomplete: ${why}` } : { kind: 'other' };
}
