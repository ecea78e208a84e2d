import { isIP } from 'node:net';
import { connect, createSecureContext, type SecureContext } from 'node:tls';
import { errnoOf } from '../../errors.ts';
import type { EgressLimits } from '../limits.ts';
import type { Arrival, Reached, Refusal } from '../stages.ts';
import type { DialResult } from './dial.ts';

export interface SecureOptions {
  /** Holds the certificate authorities that origins are verified by. */
  readonly trust: () => SecureContext;
  readonly limits: EgressLimits;
}

/** Made when first asked for: it parses every authority there is, and most runs open no TLS. */
export function trustIn(roots: readonly string[]): () => SecureContext {
  let context: SecureContext | undefined;
  return () => {
    context ??= createSecureContext({ minVersion: 'TLSv1.2', ...(roots.length > 0 && { ca: [...roots] }) });
    return context;
  };
}

/**
 * TLS to the origin of a request that came inside TLS, proved for the name that was judged; the connection itself for any
 * other. Never rejects.
 */
export async function secureUpstream(
  dialled: DialResult,
  { intent: { host, http }, origins }: Pick<Arrival, 'intent' | 'origins'>,
  { trust, limits }: SecureOptions,
): Promise<Reached> {
  if (!dialled.ok) return dialled;
  const isHttp2 = origins?.isHttp2 ?? false;
  const { address } = dialled;
  // Without TLS a client of HTTP/2 knows beforehand that its origin speaks it (RFC 9113 §3.3).
  if (http?.scheme !== 'https')
    return { ok: true, upstream: { ...dialled, protocol: isHttp2 ? 'h2' : 'http/1.1' } };
  const { promise, resolve } = Promise.withResolvers<Reached>();
  const socket = connect({
    socket: dialled.socket,
    host,
    // RFC 6066 §3: addresses are no server names.
    ...(isIP(host) === 0 && { servername: host }),
    secureContext: trust(),
    ALPNProtocols: isHttp2 ? ['h2', 'http/1.1'] : ['http/1.1'],
  });
  const timer = setTimeout(
    () => settle({ ok: false, refusal: failed(504, `no TLS within ${limits.handshakeMs} ms`) }),
    limits.handshakeMs,
  );
  const settle = (result: Reached): void => {
    clearTimeout(timer);
    if (!result.ok) socket.destroy();
    resolve(result);
  };
  socket.once('secureConnect', () => {
    const protocol = socket.alpnProtocol === 'h2' ? 'h2' : 'http/1.1';
    settle({ ok: true, upstream: { socket, address, protocol } });
  });
  // Stays, so that a later reset finds a listener whatever stage owns the socket.
  socket.on('error', (error) => settle({ ok: false, refusal: failed(502, reasonOf(error)) }));
  socket.once('close', () => settle({ ok: false, refusal: failed(502, 'closed during the TLS handshake') }));
  return promise;
}

function failed(status: 502 | 504, detail: string): Refusal {
  return { result: 'failed', status, error: 'upstream_tls_failed', detail: `TLS to the origin: ${detail}` };
}

/** OpenSSL's verification errors have codes such as CERT_HAS_EXPIRED, which say more than the message. */
function reasonOf(error: Error): string {
  const code = errnoOf(error);
  return code === undefined ? error.message : `${code} (${error.message})`;
}
