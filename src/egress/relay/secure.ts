import { isIP } from 'node:net';
import { connect, type SecureContext } from 'node:tls';
import { errnoOf } from '../../errors.ts';
import type { EgressLimits } from '../limits.ts';
import type { Intent, Refusal } from '../stages.ts';
import type { DialResult } from './dial.ts';

export interface SecureOptions {
  /** Holds the certificate authorities that origins are verified by. */
  readonly trust: () => SecureContext;
  readonly limits: EgressLimits;
}

/**
 * TLS to the origin of a request that came inside TLS, proved for the name that was judged; the connection itself for any
 * other. Never rejects.
 */
export async function secureUpstream(
  dialled: DialResult,
  { host, http }: Intent,
  { trust, limits }: SecureOptions,
): Promise<DialResult> {
  if (!dialled.ok || http?.scheme !== 'https') return dialled;
  const { promise, resolve } = Promise.withResolvers<DialResult>();
  const socket = connect({
    socket: dialled.socket,
    host,
    // RFC 6066 §3: addresses are no server names.
    ...(isIP(host) === 0 && { servername: host }),
    secureContext: trust(),
    ALPNProtocols: ['http/1.1'],
  });
  const timer = setTimeout(
    () => settle({ ok: false, refusal: failed(504, `no TLS within ${limits.handshakeMs} ms`) }),
    limits.handshakeMs,
  );
  const settle = (result: DialResult): void => {
    clearTimeout(timer);
    if (!result.ok) socket.destroy();
    resolve(result);
  };
  socket.once('secureConnect', () => settle({ ok: true, socket, address: dialled.address }));
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
